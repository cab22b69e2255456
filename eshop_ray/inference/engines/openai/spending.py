"""What requests cost, and whether another one could pass the limit."""

from dataclasses import dataclass
from enum import Enum

from eshop_ray.config import OpenaiSection
from eshop_ray.inference.engines.openai.chat_request import Size
from eshop_ray.inference.engines.openai.chat_response import Usage

MILLION = 1e6
ROUNDING = 1e-9
"""Of sums of prices."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens."""

    input: float
    cached_input: float
    output: float

    @classmethod
    def of(cls, config: OpenaiSection) -> "Prices":
        """Return the configured prices; what has none costs nothing."""
        price = config.input_price or 0.0
        cached = config.cached_input_price
        return cls(price, price if cached is None else cached, config.output_price or 0.0)

    def price(self, usage: Usage) -> float:
        """Return what counted tokens cost."""
        fresh = usage.num_read - usage.num_cached
        total = fresh * self.input + usage.num_cached * self.cached_input + usage.num_written * self.output
        return total / MILLION

    def price_most(self, size: Size) -> float:
        """Return what a request can cost at most."""
        dearest = max(self.input, self.cached_input)
        return (size.num_read * dearest + (size.num_written or 0) * self.output) / MILLION


class Decision(Enum):
    """What becomes of a request that wants to be sent."""

    GO = "go"
    WAIT = "wait"
    """Until others are settled: they may turn out cheaper than they can be."""
    STOP = "stop"


@dataclass(slots=True)
class Spending:
    """What was spent, and what requests under way may come to."""

    limit: float | None
    spent: float = 0.0
    reserved: float = 0.0

    def reserve(self, most: float) -> Decision:
        """Decide on a request that may cost so much, and set that aside if it goes."""
        if self.limit is not None and self.spent + most > self.limit + ROUNDING:
            return Decision.STOP
        if self.limit is not None and self.spent + self.reserved + most > self.limit + ROUNDING:
            return Decision.WAIT
        self.reserved += most
        return Decision.GO

    def settle(self, most: float, cost: float) -> None:
        """Note what a request has cost for which so much was set aside."""
        self.reserved = max(self.reserved - most, 0.0)
        self.spent += cost

"""What a night may spend: when that is reached, it commits what was answered, and the next night goes on."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from eshop_ray.config import EnrichSection
from eshop_ray.errors import UserError
from eshop_ray.schema import Row


@dataclass(slots=True)
class Budget:
    """Counts what answers cost, from the engines' start on."""

    max_generated_tokens: int | None
    max_cost: float | None
    price_per_second: float
    """Of all engines together."""
    num_tokens: int = 0
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def from_config(cls, config: EnrichSection, num_engines: int) -> "Budget":
        """Begin to count.

        Raises:
            UserError: if a cost is limited and the price is not known.
        """
        if config.max_cost is not None and config.gpu_hour_price is None:
            raise UserError("`enrich.max_cost` needs `enrich.gpu_hour_price`, the price of an engine hour")
        price = (config.gpu_hour_price or 0.0) * num_engines / 3600
        return cls(config.max_generated_tokens, config.max_cost, price)

    @property
    def reached(self) -> str | None:
        """Which limit is reached, in words; None: none is."""
        if self.max_generated_tokens is not None and self.num_tokens >= self.max_generated_tokens:
            return f"{self.num_tokens} generated tokens, `enrich.max_generated_tokens` is {self.max_generated_tokens}"
        cost = self.price_per_second * (time.monotonic() - self.started)
        if self.max_cost is not None and cost >= self.max_cost:
            return f"a cost of {cost:.2f}, `enrich.max_cost` is {self.max_cost:g}"
        return None

    def take(self, reports: Iterable[Row]) -> Iterator[Row]:
        """Yield reports of shards until a limit is reached."""
        for report in reports:
            counted = (number for name, number in report["counts"].items() if name.endswith("/generated_tokens"))
            self.num_tokens += sum(counted)
            yield report
            if self.reached:
                return


def count_postponed(shards: Sequence[Row], finished: Iterable[str]) -> dict[str, int]:
    """Return task -> products that were to be asked about and were not."""
    done = set(finished)
    postponed: dict[str, int] = {}
    for shard in shards:
        if shard["shard"] not in done:
            postponed[shard["task"]] = postponed.get(shard["task"], 0) + shard["num_targets"]
    return postponed

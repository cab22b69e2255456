"""When the next request may go out, by limits of requests and tokens in a minute."""

from dataclasses import dataclass

MINUTE = 60.0


@dataclass(slots=True)
class Pace:
    """Spaces requests evenly, so that no minute has more than the limits allow, wherever it begins.

    Each request pushes the earliest time of the next one back by its share of a minute: the leaky bucket as a meter, or
    generic cell rate algorithm, without a burst.
    """

    requests_per_minute: int | None
    tokens_per_minute: int | None
    next_request: float = 0.0
    next_token: float = 0.0
    """Times, in seconds of the caller's clock."""

    def book(self, now: float, num_tokens: int) -> float:
        """Return when a request may go out, not before now, and have the next one wait for it."""
        start = max(now, self.next_request, self.next_token)
        if self.requests_per_minute is not None:
            self.next_request = start + MINUTE / self.requests_per_minute
        if self.tokens_per_minute is not None:
            self.next_token = start + num_tokens * MINUTE / self.tokens_per_minute
        return start

    def correct(self, num_expected: int, num_counted: int) -> None:
        """Take account of what a request came to."""
        if self.tokens_per_minute is not None:
            self.next_token += (num_counted - num_expected) * MINUTE / self.tokens_per_minute

    def pause(self, until: float) -> None:
        """Let no request out before a time."""
        self.next_request = max(self.next_request, until)

"""When an engine's deaths are its own fault and not that of the rows inside: then asking on would take for ever.

A row that kills is found by asking suspects apart, which takes some starts of the engine. An engine that cannot do its
work dies of any row; each would be found guilty, two starts a row.
"""

from collections.abc import Set
from dataclasses import dataclass, field

from eshop_ray.errors import UserError

MAX_SERIES = 3
"""Deaths without an answer in between that no row explains."""
MAX_GUILTY_SHARE = 0.005
"""Rows that may be found guilty, of those that were asked."""
MIN_GUILTY = 20
"""Guilty rows that say nothing of a share yet."""


class EngineBrokenError(UserError):
    """The engine dies whatever it is asked. Another one may work, elsewhere."""


@dataclass(frozen=True, slots=True)
class _Death:
    reason: str
    rows: Set[int]
    """What was inside."""


@dataclass(slots=True)
class CircuitBreaker:
    """What is known of one engine's deaths."""

    num_answered: int = 0
    num_guilty: int = 0
    series: list[_Death] = field(default_factory=list)
    """Deaths since the last answer."""

    def record_answers(self, num_rows: int) -> None:
        """Note that rows were answered: the deaths before were no series."""
        self.num_answered += num_rows
        self.series.clear()

    def record_death(self, reason: str, rows: Set[int]) -> bool:
        """Note a death, with these rows inside, and return whether no row explains the last ones.

        That is so if the engine has never answered, and no row was inside each time; or if it died of the same trouble
        again and again, each time with other rows inside. Similar rows are asked one after the other, so that all of
        these may be to blame after all: something harmless tells.
        """
        self.series.append(_Death(reason, rows))
        if len(self.series) < MAX_SERIES:
            return False
        is_new = not self.num_answered and not frozenset.intersection(*(frozenset(one.rows) for one in self.series))
        return is_new or self._is_apart()

    def explain(self) -> EngineBrokenError:
        """Return what the deaths without an answer in between say of the engine."""
        ever = "" if self.num_answered else ", and has answered nothing so far"
        return EngineBrokenError(
            f"the engine died {len(self.series)} times in a row, whatever it was asked{ever}: "
            f"{self.series[-1].reason}. {_REMEDY}"
        )

    def record_guilty(self, reason: str) -> EngineBrokenError | None:
        """Note that a row, alone inside, killed the engine again and again; return what to say if they are too many."""
        self.num_guilty += 1
        num_asked = self.num_answered + self.num_guilty
        if self.num_guilty <= max(MIN_GUILTY, MAX_GUILTY_SHARE * num_asked):
            return None
        return EngineBrokenError(
            f"the engine died of {self.num_guilty} rows of {num_asked}, too many for it to be the rows: {reason}. "
            f"{_REMEDY}"
        )

    def _is_apart(self) -> bool:
        """Whether the last deaths are of one kind, and no two had a row in common."""
        last = self.series[-MAX_SERIES:]
        num_rows = sum(len(one.rows) for one in last)
        return len({one.reason for one in last}) == 1 and len(set().union(*(one.rows for one in last))) == num_rows


_REMEDY = (
    "What was answered is kept. Look at the engine's settings (`infer.engine_kwargs`), its memory, and its log in "
    "Ray's session folder"
)

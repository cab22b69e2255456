"""Numbered options in a question that a model wrote: found, checked, and put into an order that is drawn."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from eshop_ray.data.instructions.material import fold
from eshop_ray.tasks.base import number_options

_OPTION = re.compile(r"^[ \t]*(\d{1,2})[.):][ \t]+(\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Options:
    """A question, its options apart."""

    before: str
    texts: tuple[str, ...]
    after: str
    first: int
    """Number of the first one."""

    @property
    def is_distinct(self) -> bool:
        """Whether no two are the same."""
        return len({fold(text) for text in self.texts}) == len(self.texts)

    def arrange(self, order: Sequence[int]) -> str:
        """Return the question with its options in an order: places that they have now, one a line."""
        return self.before + number_options([self.texts[place] for place in order], self.first) + self.after


def read_options(question: str) -> Options | None:
    """Return the options of a question, which stand on lines of their own, one after the other; None if it has none."""
    found = list(_OPTION.finditer(question))
    run = max(_list_runs(found, question), key=len, default=[])
    if len(run) < 2:
        return None
    texts = tuple(" ".join(match[2].split()) for match in run)
    return Options(question[: run[0].start()], texts, question[run[-1].end() :], int(run[0][1]))


def shuffle(number: int, draw: Random) -> list[int]:
    """Return the places of so many options in another order, each order as likely."""
    order = list(range(number))
    draw.shuffle(order)
    return order


def _list_runs(found: Sequence[re.Match[str]], question: str) -> Iterator[list[re.Match[str]]]:
    """Yield the options that count from 0 or 1 on lines next to each other."""
    run: list[re.Match[str]] = []
    for before, match in pairwise((None, *found)):
        assert match is not None
        follows = before is not None and not question[before.end() : match.start()].strip()
        if not (run and follows and int(match[1]) == int(run[-1][1]) + 1):
            yield run
            run = []
        if run or match[1] in ("0", "1"):
            run.append(match)
    yield run

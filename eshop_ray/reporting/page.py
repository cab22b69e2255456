"""A page of sentences, tables and charts, whatever it is written as.

All texts may hold anything that a shop or a model wrote: whoever writes them escapes them. In sentences, what stands in
backticks is code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

MAX_TEXT = 300
"""Characters of any one text of the data that are shown."""

Level = Literal["well", "attention", "failed"]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header; the columns after the first `num_text` hold numbers, set to the right."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    num_text: int = 1


@dataclass(frozen=True)
class Chart:
    """A picture, and what it shows in words."""

    draw: Callable[[], bytes | None]
    """Makes the SVG; None where there is nothing to show."""
    caption: str
    file: str | None = None
    """Name of its file beside a Markdown page; None: Markdown goes without it."""

    @cached_property
    def svg(self) -> bytes | None:
        """The picture, drawn when somebody wants to see it, and once."""
        return self.draw()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it, in this order."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A title, the one sentence to read when there is no time for more, and sections."""

    title: str
    level: Level
    verdict: str
    sections: Sequence[Section]


def clean_text(text: str) -> str:
    """Return text that a line, a font and a parser take: short, no control characters, no half surrogates."""
    start = text[:MAX_TEXT].encode("utf-8", "replace").decode()
    words = "".join(char if char.isprintable() else " " for char in start).split()
    return " ".join([*words, "..."] if len(text) > MAX_TEXT else words)


def code(text: str) -> str:
    """Set a word of data as code in a sentence."""
    return f"`{clean_text(text).replace('`', chr(39))}`"

"""Lines of a table as text, which can be given back when they turn out to be of another record."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Self

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(slots=True)
class Lines:
    """Numbered lines that can be given back."""

    source: Iterator[str]
    number: int = 0
    """Of the line that was taken last, 1 for the first."""
    returned: deque[str] = field(default_factory=deque)

    def take(self) -> str | None:
        """Return the next line with its end, None after the last."""
        line = self.returned.popleft() if self.returned else next(self.source, None)
        self.number += line is not None
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        """Have these lines, the last ones that were taken, come again."""
        self.returned.extendleft(reversed(lines))
        self.number -= len(lines)

    def take_back(self) -> bytes:
        """Return the lines that were given back and will not come again."""
        content = "".join(self.returned).encode("utf-8", "surrogateescape")
        self.returned.clear()
        return content


class PlainLines:
    """Lines of UTF-8 with their ends, taken from a stream no further than asked for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self._content = b""
        self._position = 0
        self._parts: deque[str] = deque()
        """Of a line that holds carriage returns, which end lines as well."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if not self._parts:
            line = self._read_line().decode("utf-8", "surrogateescape")
            self._parts.extend(_LINE.findall(line) if "\r" in line else [line])
            if not line:
                raise StopIteration
        return self._parts.popleft()

    def put_back(self, content: bytes) -> None:
        """Have this come before what the stream has left."""
        self._content, self._position = content, 0

    def take_back(self) -> bytes:
        """Return what was put back, or of a line that was begun, and did not come yet."""
        content = "".join(self._parts).encode("utf-8", "surrogateescape") + self._content[self._position :]
        self._parts.clear()
        self.put_back(b"")
        return content

    def _read_line(self) -> bytes:
        end = self._content.find(b"\n", self._position) + 1
        if end:
            line, self._position = self._content[self._position : end], end
            return line
        begun = self._content[self._position :]
        self.put_back(b"")
        return begun + self.stream.readline()

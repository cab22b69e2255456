"""What keys have spent, in a file for each day that only grows: the death of its writer loses nothing."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eshop_ray.append_log import AppendLog

Spent = dict[str, int]
"""Id of a key -> tokens."""


def day_of(seconds: float) -> str:
    """Return the day of UTC of a time since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def seconds_to_next_day(seconds: float) -> float:
    """Return the seconds that are left of a day of UTC."""
    day = 24 * 60 * 60
    return day - seconds % day


class Ledger:
    """One process at a time writes it; the last line of a key counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._day = ""
        self._log: AppendLog | None = None

    def open(self, day: str) -> Spent:
        """Begin a day, or go on with it, and return what was noted.

        Raises:
            UserError: if another process is writing it, or a line is none of its own.
            OSError: if it cannot be written.
        """
        self.close()
        self._log = AppendLog(self._folder / f"{day}.jsonl")
        self._day = day
        return dict(self._log.read(_read_line))

    def note(self, day: str, key_id: str, tokens: int) -> None:
        """Write down what a key has spent of a day, or is about to; it is on disk when this returns.

        Of a day that is over nothing is written: nobody can spend of it.
        """
        if self._log is not None and day == self._day:
            self._log.append([json.dumps({"key": key_id, "tokens": tokens})])

    def close(self) -> None:
        """Let another process write."""
        if self._log is not None:
            self._log.__exit__()
            self._log = None


def _read_line(line: dict[str, Any]) -> tuple[str, int]:
    return str(line["key"]), int(line["tokens"])

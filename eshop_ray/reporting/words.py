"""Numbers as a person reads them."""

NONE = "-"
"""Stands where there is no number."""


def count(number: int, noun: str) -> str:
    """Word a number of things: `1 row`, `2,465 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """Word a time: `12.3 s`, `4 min 05 s`, `2 h 10 min`."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"

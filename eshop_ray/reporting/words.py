"""Numbers as a person reads them."""

NONE = "-"
"""Stands where there is no number."""


def count(number: int, noun: str) -> str:
    """Word a number of things: `1 row`, `2,465 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_seconds(seconds: float | None) -> str:
    """Word a time: `0.4 s`, `12 s`, `4 min 05 s`, `2 h 10 min`; there may be none."""
    if seconds is None:
        return NONE
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    if minutes:
        return f"{minutes} min {rest:02d} s"
    return f"{round(seconds, 1):g} s" if seconds < 10 else f"{rest} s"

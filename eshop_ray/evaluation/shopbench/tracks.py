"""The competition's tracks, and the time that each allows.

Source: README of the starter kit `AIcrowd/amazon-kdd-cup-2024-starter-kit`, phase 2, as of 12 June 2024: "What hardware
does my code run on". The limits are for four NVIDIA T4 and the whole hidden test set.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

NAMES: Mapping[int, str] = MappingProxyType(
    {
        1: "understanding-shopping-concepts",
        2: "shopping-knowledge-reasoning",
        3: "user-behavior-alignment",
        4: "multi-lingual-abilities",
    }
)
"""Track -> its name; the column `track` has `amazon-kdd-cup-24-` before it."""
ALL_AROUND = 5
"""The track of all questions, answered by one solution; its score is the mean of the other tracks' scores."""

BUDGET_SECONDS: Mapping[int, float] = MappingProxyType({1: 4200.0, 2: 1200.0, 3: 1800.0, 4: 1200.0, ALL_AROUND: 8400.0})
"""Track -> seconds that a submission may take, its start included."""
SECONDS_PER_SAMPLE = 10.0
"""A batch may take so long for each of its questions; the competition ends a submission that takes longer."""
MAX_BATCH_SIZE = 16

_PREFIX = "amazon-kdd-cup-24-"


def read_track(value: Any) -> int | None:
    """Return the track that a file means: its number, `track1`, or the name of its challenge; None for nothing.

    Raises:
        ValueError: if there is no such track.
    """
    text = "" if value is None else str(value).strip().lower().replace("_", "-").replace(" ", "-")
    if not text:
        return None
    short = text.removeprefix(_PREFIX)
    number = short.removeprefix("track").strip("-")
    for track, name in NAMES.items():
        if short == name or number == str(track):
            return track
    raise ValueError(f"`track` {value!r} is none of {', '.join(_PREFIX + name for name in NAMES.values())}")

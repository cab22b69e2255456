"""Which language a text is in, told by ELD: its model of 60 languages is in its package, nothing is fetched."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

UNKNOWN = "und"
"""Of a text that tells nothing, by ISO 639-2."""


def identify(texts: Iterable[str | None], among: Sequence[str] = ()) -> list[str]:
    """Return the ISO 639-1 code of each text's language, `UNKNOWN` where there is none to see.

    Args:
        texts: A few words are enough for most; of single words each fifth is taken for a neighbour's.
        among: Codes to choose from: the fewer, the surer. Empty chooses from all.
    """
    detect = _detector(tuple(sorted(among))).detect
    return [detect(text) if text else UNKNOWN for text in texts]


@cache
def _detector(among: tuple[str, ...]) -> Any:
    # Imported when the first text comes: most jobs need none of its 23 MB.
    import eldc

    eldc.init()
    detector = eldc.instance()
    if among:
        detector.set_languages([*among])
    return detector

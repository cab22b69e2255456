"""The language of texts, by ELD: its model of 60 languages comes in the package `eldc`, nothing is downloaded."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from eshop_ray.errors import UserError

LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "zh")
"""That texts in Latin, Japanese and Chinese letters are told apart by, unless others are given. Fewer are surer."""
UNKNOWN = "und"
"""Of a text that tells nothing; ISO 639's word for undetermined."""


def identify(texts: Iterable[str | None], languages: Sequence[str] = LANGUAGES) -> list[str]:
    """Return the ISO 639-1 code of each text's language, the likeliest one.

    Of names of one or two words a sixth is wrong, of longer ones one in sixty; out of all languages a quarter and one
    in twenty-five. Japanese names without kana may be taken for Chinese.

    Args:
        texts: Of any length; null is the empty text.
        languages: Codes of those to choose from, and empty of all. A text in none of their scripts gets any language
            that the model knows.

    Raises:
        UserError: if ELD knows no such language.
    """
    chosen, known = _load(tuple(languages)), _load(())
    codes = []
    for text in texts:
        code = chosen.detect(text or "")
        codes.append(known.detect(text or "") if code == UNKNOWN else code)
    return codes


def check_languages(languages: Iterable[str]) -> None:
    """Refuse codes of languages that no text can be of.

    Raises:
        UserError: naming them and those that are known.
    """
    import eldc

    if unknown := sorted(set(languages) - set(eldc.LANGUAGES)):
        known = ", ".join(sorted(eldc.LANGUAGES))
        raise UserError(f"no language is known as {', '.join(unknown)}; take ISO 639-1 codes of these: {known}")


@cache
def _load(languages: tuple[str, ...]) -> Any:
    # Imported when the first text comes: most jobs need none of its 23 MB.
    import eldc

    check_languages(languages)
    eldc.init()
    detector = eldc.instance()
    if languages:
        detector.set_languages([*languages])
    return detector

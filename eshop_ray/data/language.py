"""The language of texts, by `py3langid`: its model comes in the package, so that nothing is downloaded."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "zh")
"""That texts in Latin, Japanese and Chinese letters are told apart by, unless others are given: out of all hundred that
the model knows, the languages of half of all short names would be wrong."""
UNKNOWN = "und"
"""Of a text without letters; ISO 639's word for undetermined."""


def identify(texts: Iterable[str], languages: Sequence[str] = LANGUAGES) -> list[str]:
    """Return the ISO 639-1 code of each text's language, the likeliest one.

    Of names of one or two words a quarter are wrong, of longer ones one in fourteen: see docs/evaluation.md.
    Japanese names without kana may be taken for Chinese. A text in another script, which tells the language by itself,
    gets any language that the model knows.

    Source: Lui and Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", 2012, by `py3langid`.

    Args:
        texts: Of any length.
        languages: Codes of those to choose from.

    Raises:
        ValueError: if `py3langid` knows no such language.
    """
    return [_identify(text, tuple(languages)) for text in texts]


def _identify(text: str, languages: tuple[str, ...]) -> str:
    if not any(map(str.isalpha, text)):
        return UNKNOWN
    code: str = _load(None if _OTHER_SCRIPT.search(text) else languages).classify(text)[0]
    return code


_OTHER_SCRIPT = re.compile(r"[\u0370-\u1cff\uac00-\ud7af]{2}")
"""From Greek and Cyrillic to the scripts of India and South East Asia, and Hangul."""


@cache
def _load(languages: tuple[str, ...] | None) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second, and 100 MiB, for who asks

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(languages)
    return identifier

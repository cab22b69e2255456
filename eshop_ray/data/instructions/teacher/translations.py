"""Whether a translation has kept what must stay as it is."""

import re
import unicodedata
from collections import Counter

from eshop_ray.data.instructions.render import UnaskableError
from eshop_ray.data.instructions.teacher.options import read_options

CHANGED_NUMBER = "a translation has other numbers"
CHANGED_PLACEHOLDER = "a translation has other placeholders"
CHANGED_OPTIONS = "a translation has other options"

_NUMBER = re.compile(r"\d+")
_PLACEHOLDER = re.compile(r"\[[A-Za-z_ ]{1,40}\]|\{\w*\}|%\(?\w*\)?[sd]\b|</?[A-Za-z][^<>]{0,40}>")
"""Masks of personal data and names, fields of templates, tags."""


def check_kept(text: str, translated: str) -> None:
    """Refuse a translation in which numbers, placeholders or numbered options are not those of the text.

    Numbers are compared by their digits: 1,000 may become 1.000.

    Raises:
        UnaskableError: saying what has changed.
    """
    pairs = ((_PLACEHOLDER, CHANGED_PLACEHOLDER), (_NUMBER, CHANGED_NUMBER))
    for pattern, reason in pairs:
        if _count(pattern, text) != _count(pattern, translated):
            raise UnaskableError(reason)
    own, other = read_options(text), read_options(translated)
    if own and not (other and (other.first, len(other.texts)) == (own.first, len(own.texts)) and other.is_distinct):
        raise UnaskableError(CHANGED_OPTIONS)


def _count(pattern: re.Pattern[str], text: str) -> Counter[str]:
    return Counter(pattern.findall(unicodedata.normalize("NFKC", text)))

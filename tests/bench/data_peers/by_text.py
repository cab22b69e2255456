"""The same cleaning as ours, one text after the other: what users of the peers write, with the same functions."""

import re

from eshop_ray.config.cleaning import TextCleaningSection
from eshop_ray.data.markup import to_plain_text
from eshop_ray.data.text_cleaning.pages import read_page
from eshop_ray.data.text_cleaning.personal import HINT, mask_personal
from eshop_ray.data.text_cleaning.quality import MIN_LETTERS, MIN_WORDS
from eshop_ray.data.text_cleaning.stage import repair_unicode

SECTION = TextCleaningSection()
_HINT = re.compile(HINT)


def clean_text(text):
    """Return the text, repaired and masked."""
    text = to_plain_text(read_page(text))
    text = text if text.isascii() else repair_unicode(text)
    return mask_personal(text)[0] if _HINT.search(text) else text


def is_good(text):
    """Whether a text stays."""
    signs = sum(not sign.isspace() for sign in text)
    letters = sum(map(str.isalpha, text))
    words = text.lower().split()
    return not (
        not SECTION.min_characters <= len(text) <= SECTION.max_characters
        or letters < SECTION.min_letter_share * signs
        or (letters >= MIN_LETTERS and text.isupper())
        or (len(words) >= MIN_WORDS and len(set(words)) < (1 - SECTION.max_repeated_share) * len(words))
    )

"""The sections that say how texts are cleaned and which of them are too much alike."""

from typing import Annotated, Literal

from pydantic import Field

from eshop_ray.config.base import PositiveInt, Section, Share


class NearDuplicatesSection(Section):
    """Which texts are too much alike to stand twice in a set."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Jaccard similarity of their shingles from which on two texts are near duplicates."""
    unit: Literal["word", "character"] = "word"
    """What shingles are made of. Chinese, Japanese and Thai characters count as words. `character` also finds other
    spellings, and takes longer."""
    num_units: PositiveInt = 5
    """Words, or characters, of a shingle; a text of fewer is alike to equal ones only."""


class TextCleaningSection(Section):
    """How texts are cleaned, and which are not worth keeping."""

    min_characters: PositiveInt = 3
    """A text of fewer is left out as `too_short`."""
    max_characters: PositiveInt = 20_000
    """A text of more is left out as `too_long`."""
    min_letter_share: Share = 0.3
    """Letters among a text's characters, blanks apart; one of fewer is left out as `few_letters`."""
    max_repeated_share: Share = 0.7
    """Words that stood in the text before, of texts of 20 words or more; one of more is left out as
    `repeated_words`. Of Chinese, Japanese and Thai three letters count as a word."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes of languages that stay; others are left out as `language`. Empty keeps all."""
    personal: Literal["mask", "keep"] = "mask"
    """`mask` replaces e-mail addresses, phone numbers, card numbers, IBANs, numbers of orders, IP addresses and URLs by
    `[EMAIL]` and so on."""

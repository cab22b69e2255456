"""The sections that say how texts are cleaned and which of them are too much alike."""

from typing import Annotated, Literal

from pydantic import Field

from eshop_ray.config.base import PositiveInt, Section


class NearDuplicatesSection(Section):
    """Which texts are too much alike to stand twice in a set."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Jaccard similarity of their shingles from which on two texts are near duplicates."""
    unit: Literal["word", "character"] = "word"
    """What shingles are made of. Chinese, Japanese and Thai characters count as words. `character` also finds other
    spellings, and takes longer."""
    num_units: PositiveInt = 5
    """Words, or characters, of a shingle; a text of fewer is alike to equal ones only."""

"""Evaluation rows that training has seen, as reports show them."""

from collections.abc import Mapping
from typing import Any

from eshop_ray.evaluation.contamination import MIN_FIELD_WORDS, NEAR, NUM_WORDS
from eshop_ray.reporting.page import Section, Table


def show_seen(seen: Mapping[str, Mapping[str, Any]]) -> Section:
    """Show what `Seen` describes of each group."""
    sentences = [
        "A row is equal if a training row of its group has the same text but for case, blanks and punctuation, and "
        f"near if one has {NEAR:.0%} of its sequences of {NUM_WORDS} words; what many rows share does not count. The "
        "answers to such rows may have been learnt by heart.",
        f"Elsewhere: a training row of another group has most of the row's sequences, or one of its fields of "
        f"{MIN_FIELD_WORDS} words or more, such as the same query. A model that learned from both has read the text, "
        "but not this answer.",
    ]
    numbers = ("num_rows", "num_equal", "num_near", "num_elsewhere")
    counts = [(name, *(f"{one[number]:,}" for number in numbers)) for name, one in seen.items()]
    tables = [Table(("group", "rows", "equal", "near", "elsewhere"), counts)]
    shown = [
        (
            name,
            ", ".join(f"{number:,} in {other}" for other, number in one["elsewhere"].items()),
            ", ".join(one["examples"]),
        )
        for name, one in seen.items()
        if one["examples"]
    ]
    header = ("group", "elsewhere", "rows such as")
    return Section("Seen in training", sentences, [*tables, *([Table(header, shown, len(header))] if shown else [])])

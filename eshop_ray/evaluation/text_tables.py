"""Written answers as reports show them: distributions, and the rows at their ends."""

from collections.abc import Mapping, Sequence
from typing import Any

from eshop_ray.evaluation.text_errors import NUM_WORDS, QUANTILES
from eshop_ray.reporting.page import Section, Table

WHOLE = ("words", "longest copied run")
"""Measures that are counted."""


def show_text_errors(answers: Sequence[tuple[tuple[str, ...], Mapping[str, Any]]], header: tuple[str, ...]) -> Section:
    """Show the written answers of some groups.

    Args:
        answers: Cells that say whose they are, and what `TextErrors` describes.
        header: Over these cells.
    """
    sentences = [
        f"Copied is a sequence of {NUM_WORDS} words that the question has too. Ratios are those of words. ROUGE-L and "
        "similarity (all-MiniLM-L6-v2) are those of a sample, the same rows for every model, or of all rows where they "
        "are the score. At the ends of each distribution stand the rows to look at first."
    ]
    counts = [
        (*key, *(f"{one[name]:,}" for name in ("num_rows", "num_empty", "num_cut", "num_compared")))
        for key, one in answers
    ]
    distributions, ends = [], []
    for key, one in answers:
        for name, measure in one["measures"].items():
            shown = [f"{value:,.0f}" if name in WHOLE else f"{value:.2f}" for value in measure["quantiles"]]
            distributions.append((*key, name, *shown))
            ends.append((*key, name, ", ".join(measure["lowest"]), ", ".join(measure["highest"])))
    return Section(
        "Written answers",
        sentences,
        [
            Table((*header, "answers", "empty", "cut", "sample"), counts, num_text=len(header)),
            Table((*header, "measure", *(f"{share:.0%}" for share in QUANTILES)), distributions, len(header) + 1),
            Table((*header, "measure", "lowest", "highest"), ends, num_text=len(header) + 3),
        ],
    )

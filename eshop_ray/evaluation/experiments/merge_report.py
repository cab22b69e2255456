"""What the report says of a merge: the recipe and the gate, the candidates, how alike the adapters are."""

import re
from functools import partial
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np

from eshop_ray.evaluation.experiments.charts import (
    Content,
    draw_pareto,
    draw_similarity,
    find_chosen,
    is_finite,
    rate_references,
)
from eshop_ray.evaluation.experiments.words import word_weights, write_number, write_weights
from eshop_ray.reporting.page import Chart, Section, Table, code
from eshop_ray.reporting.words import count, format_seconds

PARETO, SIMILARITY = "pareto.svg", "similarity.svg"
"""Pictures beside `experiment.md`."""
NUM_BEST = 10
"""Candidates shown in the table."""
MAX_PAIRS = 36
"""Pairs of adapters up to which each has its row in a table."""


def tell_recipe(search: Content) -> Section:
    """Word the chosen recipe and what the gate said, beside the scores of what was confirmed."""
    sentences = [f"The gate: {search['verdict']}"]
    chosen = find_chosen(search)
    if chosen:
        names = [adapter["name"] for adapter in search["adapters"]]
        weights = word_weights(names, chosen["weights"])
        share = "" if chosen["wise_ft"] == 1 else f"; {chosen['wise_ft']:.0%} of the update goes into the base"
        density = f", density {chosen['density']:g}" if chosen["density"] < 1 else ""
        recipe = f"method {code(chosen['method'])}{density}, weights {weights}{share}"
        sentences.insert(0, f"{'Promoted' if search['promoted'] else 'Not promoted'}: {code(chosen['id'])}, {recipe}.")
    if not search["confirmed"]:
        return Section("The merge", sentences)
    sentences.append(f"Scores of answers to {code(search['split'])}:")
    return Section("The merge", sentences, [_tabulate_confirmed(search)])


def _tabulate_confirmed(search: Content) -> Table:
    """Put the scores of confirmed candidates beside those of the tasks' own adapters."""
    by_id = {candidate["id"]: candidate for candidate in search["candidates"]}
    scored = [by_id[name] for name in search["confirmed"] if by_id[name]["scores"]]
    rows = [
        (task, *map(write_number, (own, *(candidate["scores"].get(task) for candidate in scored))))
        for task, own in search["single_scores"].items()
    ]
    return Table(("task", "own adapter", *(candidate["id"] for candidate in scored)), rows)


def show_candidates(search: Content) -> Section:
    """Show all candidates as a picture."""
    sentences = [
        f"{count(search['num_candidates'], 'candidate')} in {format_seconds(search['seconds'])}, "
        f"{count(search['num_workers'], 'worker')}: {_word_stages(search)}; "
        f"then {count(len(search['confirmed']), 'candidate')} confirmed by answers in "
        f"{format_seconds(search['confirm_seconds'])}.",
        "A ratio is the loss per answer token, divided by that of the task's own adapter: 1.00 is as good, lower is "
        "better. No candidate beats those of the front in both directions.",
    ]
    rated = {name: rating for name, rating in rate_references(search).items() if is_finite(rating)}
    words = (f"{name} {rating['mean']:.2f}, at worst {rating['worst']:.2f}" for name, rating in rated.items())
    sentences += [f"For comparison: {'; '.join(words)}."] if rated else []
    num_broken = sum(not is_finite(candidate) for candidate in search["candidates"])
    sentences += [f"{count(num_broken, 'candidate')} without a finite loss left out."] if num_broken else []
    chart = Chart(partial(draw_pareto, search), "Candidates: mean of the tasks against the worst task", PARETO)
    return Section("Candidates", sentences, charts=[chart])


def _word_stages(search: Content) -> str:
    """Say by how many rows the candidates were measured, the best of them by more."""
    measured = [candidate["num_rows"] for candidate in search["candidates"]]
    fewest, *more = sorted(set(measured))
    words = [f"all by {count(fewest, 'row')} of split {code(search['split'])}"]
    words += [f"the best {sum(num_rows >= least for num_rows in measured):,} by {least:,}" for least in more]
    return ", ".join(words) + (" (the others are faint)" if more else "")


def list_best(search: Content) -> Section:
    """List the candidates of best mean, with the scores of those that were confirmed."""
    names = [adapter["name"] for adapter in search["adapters"]]
    header = ("candidate", "", "weights", "worst task", "density", "into base", "mean", "worst", "score")
    rows = []
    for candidate in [candidate for candidate in search["candidates"] if is_finite(candidate)][:NUM_BEST]:
        marks = ["chosen"] * (candidate["id"] == search["chosen"]) + ["front"] * candidate["is_pareto"]
        worst_task = max(candidate["ratios"], key=candidate["ratios"].__getitem__)
        scores = candidate["scores"]
        numbers = (candidate["mean"], candidate["worst"], fmean(scores.values()) if scores else None)
        settings = (f"{candidate['density']:g}", f"{candidate['wise_ft']:.0%}")
        weights = write_weights(names, candidate["weights"])
        row = (candidate["id"], ", ".join(marks), weights, worst_task, *settings, *map(write_number, numbers))
        rows.append(row)
    sentence = (
        f"By mean ratio; the score is the mean of the tasks, where answers to {code(search['split'])} were scored."
    )
    return Section("Best candidates", [sentence], [Table(header, rows, num_text=4)])


def show_similarity(similarity: Content) -> list[Section]:
    """Show how alike the updates of two or more adapters are, overall and, of a few adapters, by kind of module."""
    sentence = (
        "Cosine of what two adapters add to the base's weights: 1 is the same direction, 0 nothing in common; below 0 "
        "they work against each other."
    )
    chart = Chart(partial(draw_similarity, similarity), "Similarity of the adapters' updates", SIMILARITY)
    sections = [Section("Similarity", [sentence], charts=[chart])]
    num = len(similarity["adapters"])
    if num * (num - 1) // 2 <= MAX_PAIRS:
        sentence = "Cosine of every pair, the mean over the layers."
        sections.append(Section("Similarity by kind of module", [sentence], [_tabulate_kinds(similarity)]))
    return sections


def _tabulate_kinds(similarity: Content) -> Table:
    """Put every pair's mean cosine by kind of module side by side: `q_proj` of all layers, `k_proj`, ..."""
    kinds: dict[str, list[Any]] = {}
    for module, cosines in similarity["modules"].items():
        kinds.setdefault(re.sub(r"[^\w-]", "?", module.rpartition(".")[2]), []).append(cosines)
    means = [_mean_known(np.array(cosines, dtype=float)) for cosines in ([similarity["overall"]], *kinds.values())]
    pairs = combinations(enumerate(similarity["adapters"]), 2)
    rows = [
        (f"{one} - {other}", *(write_number(mean[row, column]) for mean in means))
        for (row, one), (column, other) in pairs
    ]
    return Table(("adapters", "overall", *kinds), rows)


def _mean_known(cosines: Any) -> Any:
    is_known = np.isfinite(cosines)
    num = is_known.sum(axis=0)
    return np.where(num > 0, np.where(is_known, cosines, 0.0).sum(axis=0) / np.maximum(num, 1), np.nan)

"""The charts of an experiment: scores with their intervals, all candidates, and how alike the adapters are."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eshop_ray.config.experiment import METHODS
from eshop_ray.evaluation.experiments.pareto import compare
from eshop_ray.reporting.page import clean_text
from eshop_ray.reporting.picture import BLUE, GRAY, LOOK, ORANGE, RED, WIDTH, to_svg
from eshop_ray.reporting.words import count

Content = Mapping[str, Any]
"""The content of an `experiment.json`, a `search.json` or a `similarity.json`."""

Ends = tuple[tuple[float, float], ...]
"""Where the axes of the Pareto picture begin and end: across, upwards."""

STRATEGIES = {"base": (GRAY, "o"), "single": (BLUE, "s"), "mixed": (ORANGE, "^"), "merged": (RED, "D")}
"""Strategy, in the order of reports -> its color and marker."""

_OKABE_ITO = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
METHOD_LOOK = dict(zip(METHODS, zip(_OKABE_ITO, "osv^DPX*", strict=True), strict=True))
"""Method -> its color and marker, the same in every report."""

MAX_LABEL = 20
"""Characters of a name on an axis."""
NUM_SPANS = 3
"""Axes end so many times as far as from the best candidate to the middle one: some are ten times as bad."""
MAX_DECIMALS = 12
"""With more adapters than this the heat map's cells hold hundredths: two decimals need more room."""
FAINT = 0.3
"""Opacity of candidates that were measured by few rows only."""

_INK = "#1a1a1a"
_REFERENCES = {"base": "x", "mixed": "+"}
_ALIKE = LinearSegmentedColormap.from_list("alike", [ORANGE, "#ffffff", BLUE])


def draw_scores(experiment: Content) -> bytes | None:
    """Draw every task's scores, one strategy below the other, with their intervals; None without tasks."""
    tasks = experiment["tasks"]
    if not tasks:
        return None
    shown = [name for name in STRATEGIES if any(name in task["strategies"] for task in tasks.values())]
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 0.9 + (0.1 + 0.11 * len(shown)) * len(tasks)))
        axes = figure.subplots()
        for number, strategy in enumerate(shown):
            color, marker = STRATEGIES[strategy]
            scored = [(place, task["strategies"].get(strategy)) for place, task in enumerate(tasks.values())]
            points = [(place, score) for place, score in scored if score]
            heights = [place + 0.76 * ((number + 0.5) / len(shown) - 0.5) for place, _ in points]
            ends = [[score["low"] for _, score in points], [score["high"] for _, score in points]]
            axes.hlines(heights, *ends, color=color, linewidth=1.6)
            middles = [score["score"] for _, score in points]
            axes.plot(middles, heights, marker, color=color, markersize=4.5, label=strategy)
        axes.set_yticks(range(len(tasks)), [_label(task) for task in tasks])
        axes.hlines(np.arange(1, len(tasks)) - 0.5, 0, 1, transform=axes.get_yaxis_transform(), **_RULE)
        axes.set(ylim=(len(tasks) - 0.5, -0.5), xlabel="score")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper left", ncols=len(shown), handletextpad=0.2, columnspacing=1.2)
        return to_svg(figure)


def draw_pareto(search: Content) -> bytes | None:
    """Draw every candidate: across the mean ratio of the tasks, upwards the worst; 1.00 is the task's own adapter.

    Those that were measured by few rows only are faint; those that lie far beyond the others are drawn on the edge.

    Returns:
        None where no candidate has a finite loss.
    """
    candidates = [candidate for candidate in search["candidates"] if is_finite(candidate)]
    if not candidates:
        return None
    ends = _find_ends(candidates)
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 4.4))
        axes = figure.subplots()
        for draw_line in (axes.axvline, axes.axhline):
            draw_line(1.0, color="#5b6670", linewidth=1, linestyle=(0, (4, 2)), zorder=1)
        _draw_candidates(axes, candidates, ends)
        _draw_others(axes, search, ends)
        across, upwards = ((low - 0.04 * (high - low), high + 0.04 * (high - low)) for low, high in ends)
        axes.set_title(_word_beyond(search, candidates, ends), fontsize=8.5)
        axes.set(xlabel="mean of the tasks", ylabel="worst task", xlim=across, ylim=upwards)
        figure.legend(
            loc="outside upper left", ncols=4, fontsize=8, handlelength=1.4, handletextpad=0.3, columnspacing=0.9
        )
        return to_svg(figure)


def draw_similarity(similarity: Content) -> bytes | None:
    """Draw the cosine of every pair of adapters, written into its cell; None below two adapters."""
    names, num = similarity["adapters"], len(similarity["adapters"])
    if num < 2:
        return None
    cosines = np.array(similarity["overall"], dtype=float)
    is_pair = ~np.eye(num, dtype=bool) & np.isfinite(cosines)
    bound = max(np.abs(cosines[is_pair]).max(initial=0.0), 0.01)
    points = 72 * 0.78 * WIDTH / num
    size = min(9.0, (0.5 if num > MAX_DECIMALS else 0.34) * points)
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, WIDTH))
        axes = figure.subplots()
        axes.set_aspect("equal")
        shown = np.where(is_pair, cosines, np.nan)
        axes.pcolormesh(shown, cmap=_ALIKE, vmin=-bound, vmax=bound, edgecolors="white", linewidth=0.5)
        for row, column in zip(*np.nonzero(is_pair), strict=True):
            color = "white" if cosines[row, column] > 0.7 * bound else "black"
            value = _write_cosine(cosines[row, column], num)
            axes.text(column + 0.5, row + 0.5, value, color=color, fontsize=size, ha="center", va="center")
        ticks, labels = np.arange(num) + 0.5, [_label(name) for name in names]
        axes.set_xticks(ticks, labels, rotation=90, fontsize=min(8.5, 0.75 * points))
        axes.set_yticks(ticks, labels, fontsize=min(8.5, 0.75 * points))
        axes.tick_params(length=0)
        axes.set(ylim=(num, 0), title="cosine, in hundredths" if num > MAX_DECIMALS else "cosine")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        return to_svg(figure)


def is_finite(candidate: Mapping[str, Any]) -> bool:
    """Whether a candidate has losses that can be compared: a merge can break a model so that it has none."""
    return all(candidate[key] is not None and math.isfinite(candidate[key]) for key in ("mean", "worst"))


def rate_references(search: Content) -> dict[str, dict[str, Any]]:
    """Return base and the adapter of all tasks, where they were measured, rated as candidates are."""
    rated = (candidate for candidate in search["candidates"] if is_finite(candidate))
    known = next((candidate for candidate in rated if all(candidate["ratios"].values())), None)
    if known is None:
        return {}
    own = {task: known["losses"][task] / ratio for task, ratio in known["ratios"].items()}
    references = {name: search["references"][name] for name in ("base", "mixed") if name in search["references"]}
    return {name: compare(losses, own) for name, losses in references.items()}


def find_chosen(search: Content) -> Mapping[str, Any] | None:
    """Return the candidate that was chosen; None if there is none."""
    return next((candidate for candidate in search["candidates"] if candidate["id"] == search.get("chosen")), None)


_RULE: dict[str, Any] = {"color": "#e3e7eb", "linewidth": 0.8, "zorder": 0}


def _label(name: str) -> str:
    text = clean_text(name)
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"


def _write_cosine(cosine: float, num_adapters: int) -> str:
    hundredths = round(100 * cosine)
    return f"{hundredths}" if num_adapters > MAX_DECIMALS else f"{hundredths / 100:.2f}"


def _draw_candidates(axes: Any, candidates: Sequence[Content], ends: Ends) -> None:
    most = max(candidate["num_rows"] for candidate in candidates)
    for method, (color, marker) in METHOD_LOOK.items():
        own = [candidate for candidate in candidates if candidate["method"] == method]
        if own:
            points = zip(*(_place(candidate, ends) for candidate in own), strict=True)
            opacity = [0.85 if candidate["num_rows"] == most else FAINT for candidate in own]
            look = {"s": 46 if marker == "*" else 26, "c": color, "marker": marker, "alpha": opacity, "zorder": 3}
            axes.scatter(*points, label=method, edgecolors=_INK, linewidths=0.4, **look)


def _draw_others(axes: Any, search: Content, ends: Ends) -> None:
    """Draw the border of all that the front beats, base and mixed, and a ring around the chosen candidate."""
    front = sorted(_place(candidate) for candidate in search["candidates"] if candidate["is_pareto"])
    border = [(front[0][0], 2 * ends[1][1]), *front, (2 * ends[0][1], front[-1][1])]
    axes.plot(*zip(*border, strict=True), color=_INK, linewidth=1, drawstyle="steps-post", label="front", zorder=2)
    chosen = find_chosen(search)
    if chosen and is_finite(chosen):
        look = {"facecolors": "none", "edgecolors": _INK, "linewidths": 1.8}
        axes.scatter(*_place(chosen, ends), s=120, label="chosen", zorder=5, **look)
    for name, rated in rate_references(search).items():
        if is_finite(rated):
            look = {"marker": _REFERENCES[name], "color": _INK, "markersize": 9, "markeredgewidth": 2}
            axes.plot(*_place(rated, ends), linestyle="none", label=name, zorder=4, **look)


def _word_beyond(search: Content, candidates: Sequence[Content], ends: Ends) -> str:
    """Say what is drawn on the edge, so that nobody takes its place for its value."""
    rated = {name: rating for name, rating in rate_references(search).items() if is_finite(rating)}
    beyond = [name for name, rating in rated.items() if _place(rating, ends) != _place(rating)]
    num = sum(_place(candidate, ends) != _place(candidate) for candidate in candidates)
    beyond += [count(num, "candidate")] if num else []
    return f"farther out, drawn on the edge: {', '.join(beyond)}" if beyond else ""


def _find_ends(candidates: Sequence[Content]) -> Ends:
    """Return where both axes begin and end: the own adapter, the front and the better half are always within."""
    front = [_place(candidate) for candidate in candidates if candidate["is_pareto"]]
    both = zip(zip(*map(_place, candidates), strict=True), zip(*front, strict=True), strict=True)
    return tuple(_find_end(places, kept) for places, kept in both)


def _find_end(places: Sequence[float], kept: Sequence[float]) -> tuple[float, float]:
    low = min(*places, 1.0)
    far = low + NUM_SPANS * (median(places) - low)
    return low, max(min(max(places), far), *kept, low + 0.05)


def _place(candidate: Content, ends: Ends = ((-math.inf, math.inf),) * 2) -> tuple[float, float]:
    (_, right), (_, top) = ends
    return min(candidate["mean"], right), min(candidate["worst"], top)

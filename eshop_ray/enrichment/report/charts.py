"""The report's charts, as SVG."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from eshop_ray.enrichment.histogram import Histogram
from eshop_ray.reporting.page import clean_text
from eshop_ray.reporting.picture import BLUE, GRAY, LOOK, ORANGE, RED, WIDTH, to_svg

CHANGE_COLORS = {"new": BLUE, "changed": ORANGE, "deleted": GRAY}
"""`unchanged` has none: beside it nothing else could be seen."""

MAX_BARS = 10
"""Quarantine reasons with a bar of their own."""
MAX_LABEL = 28
"""Characters of a bar's name."""
MAX_TICKS = 8
"""Lengths named below a histogram."""
NUM_BINS = 40
"""Stretches of time in the throughput chart."""

_UNITS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def draw_throughput(points: Sequence[Sequence[float]]) -> bytes | None:
    """Draw rows and generated tokens per second over the time of inference; None below two points in time.

    Args:
        points: Seconds since inference began, rows done, tokens generated, the latter two in total.
    """
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return None
    seconds, *totals = np.asarray(points, dtype=float).T
    edges = np.linspace(seconds[0], seconds[-1], min(NUM_BINS, len(points) - 1) + 1)
    divisor, unit = next((divisor, unit) for least, divisor, unit in _UNITS if seconds[-1] >= least)
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 3.4))
        both = figure.subplots(2, 1, sharex=True)
        for axes, total, color, name in zip(
            both, totals, (BLUE, ORANGE), ("rows per second", "generated tokens per second"), strict=True
        ):
            rates = np.diff(np.interp(edges, seconds, total)) / np.diff(edges)
            axes.stairs(rates, edges / divisor, fill=True, color=color, alpha=0.25)
            axes.stairs(rates, edges / divisor, color=color, linewidth=1.6, baseline=None)
            axes.set(title=name, ylim=(0, None), xlim=(edges[0] / divisor, edges[-1] / divisor))
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        both[-1].set_xlabel(f"{unit} since inference began")
        return to_svg(figure)


def draw_histogram(histogram: Histogram, unit: str, color: str = BLUE) -> bytes | None:
    """Draw how many rows have which length, one bar a bin; None without rows.

    The bins widen with the length, the bars do not: a logarithmic axis that has a place for 0.
    """
    filled = [place for place, count in enumerate(histogram.counts) if count]
    if not filled:
        return None
    first, last = filled[0], filled[-1] + 1
    places = np.arange(first, last)
    ticks = _pick_ticks(histogram.edges, first, last)
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 2.5))
        axes = figure.subplots()
        axes.bar(places, histogram.counts[first:last], width=0.92, align="edge", color=color)
        axes.set_xticks(ticks, [_short(histogram.edges[place]) for place in ticks])
        axes.set(xlabel=unit, ylabel="rows")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(visible=False, axis="x")
        return to_svg(figure)


def draw_quarantine(standing: Mapping[str, int], new: Mapping[str, int]) -> bytes | None:
    """Draw how many rows stand in quarantine for which reason, those of this run set off; None when it is empty."""
    reasons = rank_reasons(standing)
    if not reasons:
        return None
    shown = reasons[:MAX_BARS]
    counts = {reason: standing[reason] for reason in shown}
    fresh = [min(new.get(reason, 0), counts[reason]) for reason in shown]
    older = [counts[reason] - number for reason, number in zip(shown, fresh, strict=True)]
    bars = {"from earlier runs": (older, GRAY), "new in this run": (fresh, RED)}
    return _draw_stacked(shown, bars, "rows in quarantine")


def draw_changes(tasks: Mapping[str, Mapping[str, int]]) -> bytes | None:
    """Draw new, changed and deleted rows per task; None when there are none."""
    bars = {name: ([task[name] for task in tasks.values()], color) for name, color in CHANGE_COLORS.items()}
    if not any(any(counts) for counts, _ in bars.values()):
        return None
    return _draw_stacked(list(tasks), bars, "rows that are not as in the last run")


def rank_reasons(counts: Mapping[str, int]) -> list[str]:
    """Return the reasons that have rows, the most frequent first."""
    return sorted((reason for reason, number in counts.items() if number), key=lambda reason: (-counts[reason], reason))


def _draw_stacked(labels: Sequence[str], bars: Mapping[str, tuple[Sequence[int], str]], unit: str) -> bytes:
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 1.3 + 0.32 * len(labels)))
        axes = figure.subplots()
        left = np.zeros(len(labels), dtype=int)
        shown = {name: bar for name, bar in bars.items() if any(bar[0])}
        for name, (counts, color) in shown.items():
            axes.barh(range(len(labels)), counts, left=left, height=0.62, color=color, label=name)
            left = left + np.asarray(counts)
        for place, total in enumerate(left):
            axes.annotate(f"{total:,}", (total, place), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(labels)), [clean_text(label)[:MAX_LABEL] for label in labels])
        axes.set(xlabel=unit, xlim=(0, 1.15 * max(left)))
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper left", ncols=len(shown), handlelength=1, columnspacing=1.2)
        return to_svg(figure)


def _pick_ticks(edges: Sequence[int], first: int, last: int) -> list[int]:
    """Return the places of a few round edges: powers of two where there are any, every place otherwise."""
    places = range(first, last + 1)
    powers = [place for place in places if edges[place].bit_count() <= 1]
    chosen = powers if len(powers) > 1 else list(places)
    return chosen[:: -(-len(chosen) // MAX_TICKS)]


def _short(number: int) -> str:
    return str(EngFormatter(sep="")(number)) if number >= 10_000 else f"{number:,}"

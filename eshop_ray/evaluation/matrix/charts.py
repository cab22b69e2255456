"""The charts of the matrix: score by training rows, a line for each model and strategy."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from eshop_ray.reporting.picture import BLUE, GRAY, LOOK, ORANGE, RED, WIDTH, to_svg

Cell = Mapping[str, Any]
"""One cell of `matrix.json`."""

SERIES: Mapping[tuple[str, str], tuple[str, str, str]] = {
    ("llm", "zero-shot"): ("LLM zero-shot", GRAY, "-"),
    ("llm", "few-shot"): ("LLM few-shot", GRAY, "--"),
    ("llm", "single"): ("LLM single", BLUE, "-"),
    ("llm", "mixed"): ("LLM mixed", ORANGE, "-"),
    ("llm", "merged"): ("LLM merged", RED, "-"),
    ("llm", "switched"): ("LLM switched", "#e69f00", "--"),
    ("llm", "distilled"): ("LLM distilled", "#a05a2c", "-."),
    ("llm", "wise-ft"): ("LLM wise-ft", "#56b4e9", "--"),
    ("llm", "soup"): ("LLM soup", "#8c564b", "--"),
    ("encoder", "single"): ("encoder", "#009e73", "-"),
    ("seq2seq", "single"): ("seq2seq", "#cc79a7", "-"),
}
"""Model and strategy, in the order of reports -> name, color and dashes."""


def draw_curve(cells: Sequence[Cell]) -> bytes | None:
    """Draw the scores of one task by training rows, with intervals; a model that learned nothing is a level line, at
    the best of its scores.

    Returns:
        None where no cell has learned from any row.
    """
    sizes = sorted({cell["num_train_rows"] for cell in cells if cell["num_train_rows"]})
    if not sizes:
        return None
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 3.2))
        axes = figure.subplots()
        for key, look in SERIES.items():
            own = [cell for cell in cells if (cell["model"], cell["strategy"]) == key]
            if own:
                _draw_series(axes, own, look)
        axes.set_xscale("log")
        axes.set_xticks(sizes)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
        axes.set(xlabel="training rows", ylabel=cells[0]["metric"])
        figure.legend(loc="outside upper left", ncols=3, fontsize=8, handlelength=1.6, columnspacing=1.0)
        return to_svg(figure)


def _draw_series(axes: Any, cells: Sequence[Cell], look: tuple[str, str, str]) -> None:
    label, color, dashes = look
    level = [cell["score"] for cell in cells if cell["strategy"] in ("zero-shot", "few-shot")]
    if level:
        axes.axhline(max(level), color=color, linestyle=dashes, linewidth=1.4, label=label)
        return
    by_size: dict[int, list[Cell]] = {}
    for cell in cells:
        by_size.setdefault(cell["num_train_rows"], []).append(cell)
    places = sorted(by_size)
    means = [sum(cell["score"] for cell in by_size[place]) / len(by_size[place]) for place in places]
    lows = [mean - min(cell["low"] for cell in by_size[place]) for place, mean in zip(places, means, strict=True)]
    highs = [max(cell["high"] for cell in by_size[place]) - mean for place, mean in zip(places, means, strict=True)]
    axes.errorbar(
        places,
        means,
        yerr=[lows, highs],
        color=color,
        linestyle=dashes,
        marker="o",
        markersize=4,
        linewidth=1.4,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )

"""The charts of a training: loss and learning rate by step, and each task's held-out loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from eshop_ray.reporting.page import clean_text
from eshop_ray.reporting.picture import BLUE, GRAY, LOOK, ORANGE, RED, WIDTH, to_svg

Training = Mapping[str, Any]
"""The content of an adapter's `training.json`."""
Numbers = npt.NDArray[np.float64]

SMOOTHED_SHARE = 1 / 30
"""Share of the steps that one point of the smoothed loss is the mean of."""
MAX_RATIO = 8.0
"""From here on, the largest loss against the smallest, a linear axis hides what happens at the end."""
MAX_STEPS = 1000
"""Losses that a line of a phone's width can show one by one."""
MAX_NAME = 22
"""Characters of a task's name."""
NUM_COLUMNS = 2
"""Tasks beside each other."""

_HELD_OUT = {"color": ORANGE, "linewidth": 1.4, "marker": "o", "markersize": 3}


def draw_training(training: Training) -> bytes | None:
    """Draw the loss of every step, faint, its moving mean, the held-out loss, and below the learning rate.

    Returns:
        None below two steps.
    """
    losses = np.asarray(training["losses"], dtype=float)
    if len(losses) < 2:
        return None
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 3.7))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        smoothed = smooth(losses)
        _draw_raw(top, losses)
        top.plot(np.arange(1, len(losses) + 1), smoothed, color=BLUE, linewidth=1.8, label="training")
        means = [(point["step"], point["mean"]) for point in training.get("held_out", ())]
        if means:
            top.plot(*zip(*means, strict=True), label="held out, mean of tasks", **_HELD_OUT)
        _mark_kept(top, training.get("best_step"), dict(means))
        _scale(top, np.append(smoothed, [mean for _, mean in means]), losses)
        top.set(title="loss per answer token", xlim=(0, 1.02 * len(losses)))
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.4, columnspacing=1.2)
        _draw_rates(bottom, training.get("learning_rates", ()))
        return to_svg(figure)


def draw_held_out(training: Training) -> bytes | None:
    """Draw each task's held-out loss in a chart of its own, for tasks differ in scale; None without held-out rows."""
    points = training.get("held_out", ())
    if not points:
        return None
    tasks = sorted({task for point in points for task in point["losses"]})
    num_lines = -(-len(tasks) // NUM_COLUMNS)
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 0.5 + 0.95 * num_lines))
        grid = figure.subplots(num_lines, NUM_COLUMNS, sharex=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(tasks):
                _draw_task(axes, tasks[place], points, training.get("best_step"))
            else:
                axes.set_visible(False)
            if len(tasks) - NUM_COLUMNS <= place < len(tasks):
                axes.set_xlabel("step", fontsize=8.5)
                axes.tick_params(labelbottom=True)
        return to_svg(figure)


def smooth(values: Numbers) -> Numbers:
    """Return the moving mean over `SMOOTHED_SHARE` of the values, centred; at the ends over what is there."""
    half = int(len(values) * SMOOTHED_SHARE / 2)
    totals = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    means: Numbers = (totals[last] - totals[first]) / (last - first)
    return means


def _draw_raw(axes: Any, losses: Numbers) -> None:
    """Draw every step's loss, or, where there are more than a line can show, the range of each stretch."""
    if len(losses) <= MAX_STEPS:
        axes.plot(np.arange(1, len(losses) + 1), losses, color=BLUE, alpha=0.3, linewidth=0.7)
        return
    starts = np.linspace(0, len(losses), MAX_STEPS // 2, endpoint=False).astype(int)
    ranges = np.minimum.reduceat(losses, starts), np.maximum.reduceat(losses, starts)
    axes.fill_between(starts + 1, *ranges, color=BLUE, alpha=0.3, linewidth=0)


def _draw_rates(axes: Any, rates: Sequence[float]) -> None:
    axes.plot(np.arange(1, len(rates) + 1), rates, color=GRAY, linewidth=1.4)
    axes.set(title="learning rate", xlabel="step", ylim=(0, None))
    axes.set_yticks([0, max(rates, default=0)], ["0", f"{max(rates, default=0):.2g}"])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _draw_task(axes: Any, task: str, points: Sequence[Mapping[str, Any]], best_step: int | None) -> None:
    losses = {point["step"]: point["losses"][task] for point in points if task in point["losses"]}
    axes.plot(list(losses), list(losses.values()), **_HELD_OUT)
    _mark_kept(axes, best_step, losses)
    kept = f": {losses[best_step]:#.3g}" if best_step in losses else ""
    axes.set_title(f"{clean_text(task)[:MAX_NAME]}{kept}", fontsize=9)
    axes.set_xlim(0, 1.04 * points[-1]["step"])
    axes.tick_params(labelsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _mark_kept(axes: Any, best_step: int | None, losses: Mapping[int, float]) -> None:
    """Mark the checkpoint that became the adapter, where its held-out loss chose it."""
    if best_step is not None and best_step in losses:
        axes.axvline(best_step, color=RED, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
        axes.plot(best_step, losses[best_step], "o", color=RED, markersize=5, label="kept", zorder=3)


def _scale(axes: Any, means: Numbers, losses: Numbers) -> None:
    """Choose the axis that shows beginning and end; a lone outlier of the losses is cut off, no mean is."""
    lowest, highest = means.min(), max(means.max(), float(np.quantile(losses, 0.98)))
    if lowest > 0 and highest / lowest > MAX_RATIO:
        axes.set_yscale("log")
        axes.set_ylim(0.8 * min(lowest, float(np.quantile(losses, 0.02))), 1.25 * highest)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    else:
        axes.set_ylim(0, 1.08 * highest or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(5))

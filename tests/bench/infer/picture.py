"""The benchmark as a picture: rows per second of every side."""

from statistics import median

import matplotlib as mpl
from matplotlib.figure import Figure

from eshop_ray.reporting.picture import BLUE, GRAY, LOOK, WIDTH, to_svg

TITLES = {"unique": "Prompts that differ", "catalog": "A shop's prompts as they come"}
NAMES = {
    "ours": "eshop_ray",
    "raw": "LLM.chat, our arguments",
    "raw_default": "LLM.chat",
    "ray_data_llm": "Ray Data LLM",
    "run_batch": "vllm run-batch",
    "eager": "eshop_ray, not compiled",
    "int8_eager": "eshop_ray, int8, not compiled",
    "int8": "eshop_ray, int8",
}


def draw(results: dict) -> bytes:
    """Return an SVG with a panel per part."""
    parts = {name: part for name, part in results["parts"].items() if name in TITLES}
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(WIDTH, 0.6 + 2.1 * len(parts)))
        for axes, (name, part) in zip(figure.subplots(len(parts), squeeze=False)[:, 0], parts.items(), strict=True):
            sides = list(reversed(part["sides"]))
            speeds = [median(part["sides"][side]["rows_per_second"]) for side in sides]
            colours = [BLUE if NAMES[side].startswith("eshop_ray") else GRAY for side in sides]
            bars = axes.barh([NAMES[side] for side in sides], speeds, color=colours)
            axes.bar_label(bars, fmt="%.1f", padding=3)
            axes.set_title(f"{TITLES[name]}: {part['num_rows']} rows, rows/s")
            axes.margins(x=0.12)
            axes.grid(visible=False, axis="y")
        return to_svg(figure)

"""The look of every chart: SVG, sized for a phone's width, in colours that colour-blind readers tell apart."""

import io
from typing import Any

from matplotlib.figure import Figure

BLUE, ORANGE, RED, GRAY = "#0072b2", "#e69f00", "#d55e00", "#9aa4ad"
"""Okabe and Ito's colours."""

WIDTH = 4.6
"""Inches; a page shows it as wide as a phone."""

LOOK: dict[str, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5b6670",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e7eb",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "eshop_ray",
    "text.parse_math": False,
}
"""For `matplotlib.rc_context`."""


def to_svg(figure: Figure) -> bytes:
    """Write a figure; the same numbers give the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return stream.getvalue()

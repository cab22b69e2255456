"""The morning report of a run, as Markdown and as one self-contained HTML page."""

from eshop_ray.enrichment.report.render import render_html, render_markdown, write_report
from eshop_ray.enrichment.report.verdict import get_quarantined_share, is_failed

__all__ = ["get_quarantined_share", "is_failed", "render_html", "render_markdown", "write_report"]

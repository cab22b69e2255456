"""The morning report of a run, as Markdown and as one self-contained HTML page."""

from eshop_ray.enrichment.report.render import build_page, write_refusal, write_report
from eshop_ray.enrichment.report.verdict import get_quarantined_share, is_failed

__all__ = ["build_page", "get_quarantined_share", "is_failed", "write_refusal", "write_report"]

"""Thin drivers for a checkout: `python -m jobs.NAME CONFIG [section.field=value ...]`; not installed."""

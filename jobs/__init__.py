"""Thin drivers: `python -m jobs.NAME CONFIG [section.field=value ...]`."""

"""Ask again about the rows that stand in quarantine."""

from eshop_ray.config import Config
from eshop_ray.jobs import enrich_catalog


def run(config: Config) -> None:
    """Do a nightly run that also asks again about quarantined rows whose text is still the same."""
    enrich_catalog.run(config, replay=True)

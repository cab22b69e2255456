"""Another try for what stands in quarantine: `python -m jobs.replay_quarantine CONFIG`."""

from eshop_ray.config import Config
from jobs import enrich_catalog
from jobs._main import main


def run(config: Config) -> None:
    """Do a nightly run that also asks again about quarantined rows whose text is still the same."""
    enrich_catalog.run(config, replay=True)


if __name__ == "__main__":
    main(run)

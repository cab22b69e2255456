"""Merged model or base -> the same in 8 bits: `python -m jobs.quantize CONFIG`."""

import logging

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.models import find_model
from eshop_ray.training.quantization.write import Quantization, write_quantized
from jobs._main import main

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write `quantized/`, unless it was made from exactly this model in this way."""
    folder = config.run_dir / "quantized"
    job = Quantization(find_model(config, config.quantize.model), config.quantize)
    if artifacts.is_current(folder, job.inputs):
        logger.info("quantized model is up to date: %s", folder)
        return
    details = write_quantized(job, folder)
    artifacts.write_run_manifest(config.run_dir)
    for name, value in details.items():
        logger.info("%-32s %s", name, value)
    logger.info("quantized model written: %s", folder)


if __name__ == "__main__":
    main(run)

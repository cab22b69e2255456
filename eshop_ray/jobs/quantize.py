"""Store a model in 8 or 4 bits."""

import logging
from pathlib import Path

from eshop_ray import artifacts
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.inference.quantization.compressed import Compression, write_compressed
from eshop_ray.inference.quantization.environment import read_lock
from eshop_ray.inference.quantization.platform import check_scheme
from eshop_ray.inference.quantization.write import Quantization, write_quantized
from eshop_ray.models import find_model
from eshop_ray.places import place_of

logger = logging.getLogger(__name__)

LOCK = Path(__file__).parents[1] / "environments" / "quantize.txt"


def run(config: Config) -> None:
    """Write `quantized/`, unless it was made from exactly this model in this way."""
    folder, settings = config.run_dir / "quantized", config.quantize
    check_scheme(settings.scheme, config.infer.use_gpu)
    model_dir = find_model(config, settings.model)
    is_ours = settings.scheme == "w8a8"
    job = Quantization(model_dir, settings) if is_ours else Compression(model_dir, config, read_lock(LOCK))
    if artifacts.is_current(folder, job.inputs):
        logger.info("quantized model is up to date: %s", place_of(folder))
        return
    if isinstance(job, Quantization):
        details = write_quantized(job, folder)
    else:
        start_ray(config.ray, num_cpus=3, num_gpus=int(settings.use_gpu))
        details = write_compressed(job, folder)
    artifacts.write_run_manifest(config.run_dir)
    for name, value in details.items():
        logger.info("%-32s %s", name, value)
    logger.info("quantized model written: %s", place_of(folder))

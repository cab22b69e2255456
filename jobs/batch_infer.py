"""Records -> predictions: `python -m jobs.batch_infer CONFIG`."""

import logging
from pathlib import Path

from eshop_ray import artifacts
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.inference.batch import fingerprint_inference, infer_split
from eshop_ray.inference.vllm import count_gpus
from eshop_ray.models import find_model, model_digest
from eshop_ray.serving.app import APP_CPUS, ensure_running
from eshop_ray.training.quantization.platform import check_model
from jobs._main import main

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Answer `evaluate.split` with each model of `infer.models`, unless its predictions are up to date."""
    records = artifacts.read_manifest(config.records_dir, job="prepare_data")
    models = {name: find_model(config, name) for name in config.infer.models}
    for model_dir in models.values():
        check_platform(config, model_dir)
    for name, model_dir in models.items():
        folder = config.predictions_dir(name)
        parents = {"model": model_digest(model_dir), "records": records.digest}
        inputs = fingerprint_inference(config, records.digest, parents["model"])
        if artifacts.is_current(folder, inputs):
            logger.info("predictions are up to date: %s", folder)
            continue
        start_engine(config, model_dir, parents["model"])
        for count, value in infer_split(config, model_dir, folder, inputs, parents).items():
            logger.info("%-32s %9d", f"{name} {count}", value)
    artifacts.write_run_manifest(config.run_dir)


def check_platform(config: Config, model_dir: Path) -> None:
    """Raise `UserError` if the model is quantized in a way that does not run where the config has it answer."""
    if config.infer.engine == "serve":
        check_model(model_dir, config.serve.use_gpu)
    elif config.infer.engine == "vllm":
        check_model(model_dir, config.infer.use_gpu)


def start_engine(config: Config, model_dir: Path, digest: str) -> None:
    """Start Ray, see that the plan fits, and deploy the model where it is asked through Ray Serve."""
    check_platform(config, model_dir)
    if config.infer.engine == "serve":
        start_ray(config.ray, num_cpus=APP_CPUS + 1, num_gpus=int(config.serve.use_gpu))
        ensure_running(config.serve, model_dir, digest)
    else:
        num_gpus = config.infer.concurrency * count_gpus(config.infer)
        start_ray(config.ray, num_cpus=config.infer.num_cpus, num_gpus=num_gpus)


if __name__ == "__main__":
    main(run)

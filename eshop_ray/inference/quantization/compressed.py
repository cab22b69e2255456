"""A model folder that llm-compressor has quantized, finished as ours are: parent's config and tokenizer, manifest."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from eshop_ray.artifacts import fingerprint, read_complete, stage_dir, write_manifest
from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.inference.quantization.calibration import list_calibration_tasks, read_calibration
from eshop_ray.inference.quantization.compressor import compress
from eshop_ray.inference.quantization.environment import run_apart
from eshop_ray.inference.quantization.layers import Layers, find_layers
from eshop_ray.inference.quantization.recipe import CALIBRATED, FP8, GROUP_SIZES, METHODS, build_recipe
from eshop_ray.inference.quantization.write import check_weight, copy_rest, measure_weights
from eshop_ray.models import model_digest
from eshop_ray.tasks import get_task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compression:
    """What llm-compressor quantizes, and how."""

    model_dir: Path
    config: Config
    packages: tuple[str, ...]
    """Of its environment, `NAME==VERSION` each."""

    @property
    def is_calibrated(self) -> bool:
        """Whether training rows are needed."""
        return self.config.quantize.scheme in CALIBRATED

    @property
    def parents(self) -> dict[str, str]:
        """Digests of the model, by its name, and of the records, where they are read.

        Raises:
            UserError: if there are no records.
        """
        parents: dict[str, str] = {self.config.quantize.model: model_digest(self.model_dir)}
        if self.is_calibrated:
            parents["records"] = read_complete(self.config.records_dir, job="prepare_data").digest
        return parents

    @property
    def inputs(self) -> str:
        """Digest of all that determines the quantized model.

        Raises:
            UserError: if there are no records to calibrate on, or only those that are scored.
        """
        settings = self.config.quantize
        how = [METHODS[settings.scheme], FP8, GROUP_SIZES, settings.ignore, self.packages, self.config.seed]
        if self.is_calibrated:
            versions = {name: get_task(name).version for name in list_calibration_tasks(self.config)}
            how += [settings.num_calibration_rows, self.config.train.max_row_length, versions]
        return fingerprint([self.parents, how])


def write_compressed(job: Compression, quantized_dir: Path) -> dict[str, Any]:
    """Write the quantized model with its tokenizer; Ray has to be running.

    Args:
        job: What is quantized.
        quantized_dir: Is replaced when the new model is complete.

    Returns:
        What the manifest tells the reader: `scheme`, `num_layers`, sizes in bytes, `seconds`, and the releases of the
        libraries that did it; of a calibrated scheme also `group_size`, `num_calibration_rows`, their
        `num_calibration_tokens` and their digest.

    Raises:
        UserError: if the model cannot be quantized; nothing is replaced then.
    """
    settings = job.config.quantize
    layers = find_layers(job.model_dir, settings.ignore)
    recipe = build_recipe(settings.scheme, layers)
    _check_weights(layers)
    rows = read_calibration(job.config, job.model_dir) if job.is_calibrated else []
    calibration = _describe(recipe, rows) if job.is_calibrated else {}
    logger.info("%s of %d layers, calibration: %s", settings.scheme, len(layers.quantized), calibration or "none")
    started = time.monotonic()
    with stage_dir(quantized_dir) as folder:
        arguments = (str(job.model_dir), str(folder), recipe, rows, job.config.seed)
        run_apart(job.config.ray, job.packages, int(settings.use_gpu), compress, *arguments)
        _finish(job.model_dir, folder)
        details = {
            "scheme": settings.scheme,
            "num_layers": len(layers.quantized),
            **calibration,
            "num_bytes": measure_weights(folder),
            "num_bytes_before": measure_weights(job.model_dir),
            "seconds": round(time.monotonic() - started, 1),
            "libraries": [name for name in job.packages if name.startswith(("llmcompressor", "compressed", "transf"))],
        }
        write_manifest(folder, "model", job.inputs, job.parents, details)
    return details


def _describe(recipe: Mapping[str, Any], rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    return {
        "group_size": recipe["group_size"],
        "num_calibration_rows": len(rows),
        "num_calibration_tokens": sum(map(len, rows)),
        "calibration_digest": fingerprint(rows),
    }


def _check_weights(layers: Layers) -> None:
    """Refuse weights that are not finite now, and not after minutes."""
    for name in layers.quantized:
        path = layers.located[f"{name}.weight"]
        with safe_open(path, "pt", backend="pread") as weights:
            check_weight(weights.get_tensor(f"{name}.weight"), f"{name}.weight", path)


def _finish(model_dir: Path, folder: Path) -> None:
    """Keep the weights and what the config says of them; the rest is the parent's, as our own libraries wrote it."""
    settings = json.loads((folder / "config.json").read_text()).get("quantization_config")
    if not settings or not measure_weights(folder):
        raise UserError(f"llm-compressor has left no quantized weights of {model_dir}; use `quantize.scheme: w8a8`")
    for path in folder.iterdir():
        if path.suffix != ".safetensors" and path.name != "model.safetensors.index.json":
            path.unlink()
    copy_rest(model_dir, settings, folder)

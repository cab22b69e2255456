"""Score each model's answers, and compare with the base."""

import logging
from typing import Any

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.evaluation.evaluate import evaluate_predictions
from eshop_ray.evaluation.quantization_check import check_quantized
from eshop_ray.evaluation.report import build_rows, print_scores, write_report

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write `metrics.json` of every answered model and the report, print one table, and judge a quantized model."""
    metrics: dict[str, dict[str, Any]] = {}
    for name in config.infer.models:
        folder = config.predictions_dir(name)
        metrics[name] = evaluate_predictions(folder, artifacts.read_complete(folder, job="batch_infer"))
    for model, values in metrics.items():
        artifacts.write_json(config.model_run_dir(model) / "metrics.json", values)
    main_model = config.infer.models[-1]
    rows = build_rows(metrics[main_model], metrics.get("base") if main_model != "base" else None)
    report = write_report(config.run_dir, rows, metrics[main_model], config.predictions_dir(main_model))
    artifacts.write_run_manifest(config.run_dir)
    print_scores(rows, f"{config.name}: split {config.evaluate.split}")
    logger.info("report: %s", report)
    check_quantized(metrics, config.quantize)

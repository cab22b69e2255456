"""Score each model's answers, and compare with the base."""

import logging
from typing import Any

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.data.splits import list_ids, read_clusters
from eshop_ray.errors import UserError
from eshop_ray.evaluation.contamination import find_seen
from eshop_ray.evaluation.evaluate import compare_with_base, evaluate_predictions
from eshop_ray.evaluation.quantization_check import check_quantized
from eshop_ray.evaluation.report import build_rows, print_scores, write_report
from eshop_ray.evaluation.same_rows import check_complete, check_same_rows
from eshop_ray.evaluation.tally import Tally, tally_groups
from eshop_ray.places import place_of

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write `metrics.json` of every answered model and the report, print one table, and judge a quantized model.

    Raises:
        UserError: if a model has not answered exactly the records of the split.
    """
    metrics: dict[str, dict[str, Any]] = {}
    tallies: dict[str, dict[str, Tally]] = {}
    records = artifacts.read_complete(config.records_dir, job="prepare_data")
    for name in config.infer.models:
        folder = config.predictions_dir(name)
        manifest = artifacts.read_complete(folder, job="batch_infer")
        if manifest.parents.get("records") != records.digest:
            raise UserError(f"{folder} answers other records than {config.records_dir} holds; run `eshop batch-infer`")
        split, data = config.evaluate.split, config.data
        expected = list_ids(config.records_dir, split, data.tasks, config.infer.max_rows, data.groups)
        check_complete(folder, expected)
        tallies[name] = tally_groups(folder)
        metrics[name] = evaluate_predictions(tallies[name], manifest)
    if "base" in metrics:
        clusters = read_clusters(config.records_dir, config.evaluate.split, config.evaluate.clusters)
        for model in config.infer.models:
            if model != "base":
                check_same_rows(config.predictions_dir("base"), config.predictions_dir(model))
                compare_with_base(metrics[model], tallies[model], tallies["base"], config.seed, clusters)
    found = find_seen(config.records_dir, config.evaluate.split, config.data.tasks, config.data.groups)
    seen = {group: one.describe() for group, one in found.items()}
    for model in config.infer.models:
        metrics[model]["seen_in_training"] = seen
        artifacts.write_json(config.model_run_dir(model) / "metrics.json", metrics[model])
    main_model = config.infer.models[-1]
    rows = build_rows(metrics[main_model], metrics.get("base") if main_model != "base" else None)
    trained = main_model if main_model == "conventional" else "adapter"
    report = write_report(config.run_dir, rows, metrics[main_model], config.predictions_dir(main_model), trained)
    artifacts.write_run_manifest(config.run_dir)
    print_scores(rows, f"{config.name}: split {config.evaluate.split}")
    logger.info("report: %s", place_of(report))
    check_quantized(metrics, config.quantize)

"""Run a ShopBench file: types from prompts, strategies compared, submissions, time budgets."""

import logging

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.contenders import ask, list_contenders
from eshop_ray.evaluation.shopbench.questions import read_questions, sample_questions, warn_of_left_out
from eshop_ray.evaluation.shopbench.report import NAME, print_results, write_report
from eshop_ray.evaluation.shopbench.results import gather_results
from eshop_ray.places import place_of

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Have every strategy and the submission answer the questions, write `shopbench.json` and the report, print tables.

    Raises:
        UserError: if the file, a strategy or the submission is in trouble, or a model fails on a batch.
    """
    if config.shopbench.path is None:
        raise UserError("`shopbench.path` is not set; name a file of ShopBench's format")
    found = read_questions(config, config.shopbench.path)
    warn_of_left_out(found)
    questions = sample_questions(found.questions, config.infer.max_rows)
    contenders = list_contenders(config, questions)
    for contender in contenders:
        ask(config, contender, questions)
    results = gather_results(config, found, questions, contenders)
    artifacts.write_json(config.run_dir / f"{NAME}.json", results)
    report = write_report(results, config.run_dir)
    artifacts.write_run_manifest(config.run_dir)
    print_results(results)
    logger.info("report: %s", place_of(report))

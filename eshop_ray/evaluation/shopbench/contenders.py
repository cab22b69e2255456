"""Who answers: each strategy of the run's model, and a submission; answers and times are kept in a folder for each."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.batches import Answers, BatchModel, account, answer_questions
from eshop_ray.evaluation.shopbench.engine_model import EngineModel, OracleModel, ShopBenchModel, find_strategies
from eshop_ray.evaluation.shopbench.prompts import VERSION, collect_examples
from eshop_ray.evaluation.shopbench.questions import Question
from eshop_ray.evaluation.shopbench.submission import SubmissionModel, digest_submission, find_submission
from eshop_ray.evaluation.shopbench.task_types import infer_task_type
from eshop_ray.inference.answer_identity import identify_engine, identify_task
from eshop_ray.inference.build import find_answering_model
from eshop_ray.inference.engines.oracle import refuse_oracle
from eshop_ray.places import place_of
from eshop_ray.reporting.words import count, format_seconds
from eshop_ray.schema import PREDICTION_SCHEMA, decode, encode
from eshop_ray.tasks import get_task, list_tasks

logger = logging.getLogger(__name__)

SUBMISSION = "submission"
"""Under this name a submission answers."""
ORACLE_DIGEST = "oracle"
PART = "part-00000.parquet"


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who answers all questions."""

    name: str
    folder: Path
    inputs: str
    """Digest of all that determines the answers, and of the batch size, which their time depends on."""


def list_contenders(config: Config, questions: Sequence[Question]) -> list[Contender]:
    """Return who answers, the strategies first, and see that all of them can be had.

    Raises:
        UserError: if a strategy's examples, the model or the submission cannot be had, or the oracle knows no answers.
    """
    settings = config.shopbench
    asked = [(question.id, question.prompt, str(question.gold), question.track) for question in questions]
    digests: dict[str, Any] = {}
    if settings.strategies or settings.submission is None:
        tasks = [identify_task(get_task(name)) for name in list_tasks()]
        if questions[0].gold is None:
            refuse_oracle(config.infer, "the file")
        common = [VERSION, tasks, _identify_engine(config), config.infer.temperature, settings.batch_size]
        for name, strategy in find_strategies(config).items():
            if name == SUBMISSION and settings.submission is not None:
                raise UserError(f"`shopbench.strategies.{SUBMISSION}`: the submission has this name; choose another")
            examples = {
                task_type: [one.model_dump() for one in shown]
                for task_type, shown in collect_examples(config, strategy, questions).items()
            }
            digests[name] = [*common, strategy.model_dump(mode="json"), examples]
    if settings.submission is not None:
        digests[SUBMISSION] = [digest_submission(find_submission(settings.submission)), settings.submission_python]
    root = config.run_dir / "shopbench"
    return [
        Contender(name, root / name, artifacts.fingerprint([name, asked, digest])) for name, digest in digests.items()
    ]


def ask(config: Config, contender: Contender, questions: Sequence[Question]) -> None:
    """Have a contender answer, unless its answers are there.

    Raises:
        UserError: if it fails on a batch, or answers in another form than the benchmark reads.
    """
    if artifacts.is_current(contender.folder, contender.inputs):
        logger.info("answers are up to date: %s", place_of(contender.folder))
        return
    started = time.perf_counter()
    with _open(config, contender.name, questions) as model:
        start_seconds = time.perf_counter() - started
        logger.info("%s is up after %s, %s", contender.name, format_seconds(start_seconds), _count(questions))
        answers = answer_questions(model, questions)
        errors = dict(model.errors) if isinstance(model, EngineModel) else {}
    if len(errors) == len({question.prompt for question in questions}):
        raise UserError(f"{contender.name}: no question has an answer; the first: {next(iter(errors.values()))}")
    with artifacts.stage_dir(contender.folder) as folder:
        _write(folder / PART, questions, answers, errors)
        details = {
            "start_seconds": start_seconds,
            "times": account(answers.times, start_seconds),
            "errors": [f"{one.place}: {errors[one.prompt]}" for one in questions if one.prompt in errors],
        }
        artifacts.write_manifest(folder, "predictions", contender.inputs, {}, details)
    seconds = sum(one.seconds for one in answers.times.values())
    logger.info("%s answered in %s", contender.name, format_seconds(seconds))


def read_predictions(contender: Contender, questions: Sequence[Question]) -> list[Any]:
    """Return the prediction for each question, None where there is no answer.

    Raises:
        UserError: if the folder does not hold exactly these questions.
    """
    table = pq.read_table(contender.folder / PART, columns=["id", "prediction"])
    found = dict(zip(table["id"].to_pylist(), table["prediction"].to_pylist(), strict=True))
    if set(found) != {question.id for question in questions} or table.num_rows != len(questions):
        raise UserError(f"{place_of(contender.folder)} holds other questions; remove the folder and run this again")
    return [decode(found[question.id]) for question in questions]


def read_answers(contender: Contender) -> dict[str, str | None]:
    """Return each answer's text by the question's id."""
    table = pq.read_table(contender.folder / PART, columns=["id", "generated_text"])
    return dict(zip(table["id"].to_pylist(), table["generated_text"].to_pylist(), strict=True))


def _identify_engine(config: Config) -> Any:
    if config.infer.engine == "oracle":
        return ORACLE_DIGEST
    model = find_answering_model(config, config.infer.models[-1])
    return identify_engine(config.infer, config.serve, model.digest)


@contextmanager
def _open(config: Config, name: str, questions: Sequence[Question]) -> Iterator[BatchModel]:
    settings = config.shopbench
    if name == SUBMISSION and settings.submission is not None:
        log_path = config.run_dir / "shopbench" / "submission.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        folder = find_submission(settings.submission)
        limit = config.infer.timeout_seconds
        with SubmissionModel(folder, settings.submission_python, log_path, limit) as submission:
            submission.wait_until_up()
            yield submission
    elif config.infer.engine == "oracle":
        yield OracleModel(questions, settings.batch_size)
    else:
        model = ShopBenchModel(config, name, questions)
        try:
            yield model
        finally:
            model.close()


def _write(path: Path, questions: Sequence[Question], answers: Answers, errors: dict[str, str]) -> None:
    rows = []
    for question in questions:
        gold, error = question.gold, errors.get(question.prompt)
        task = gold.task if gold else infer_task_type(question.prompt)
        text = answers.texts[question.id].encode("utf-8", "replace").decode()
        row = {
            "id": question.id,
            "task": task,
            "group": question.group,
            "metric": gold.metric if gold else None,
            "target": encode(gold.target) if gold else None,
            "messages": [{"role": "user", "content": question.prompt}],
            "error": error,
            "generated_text": None if error else text,
            "prediction": None if error else encode(get_task(task).parse(text)),
        }
        rows.append({**dict.fromkeys(PREDICTION_SCHEMA.names), **row})
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), path)


def _count(questions: Sequence[Question]) -> str:
    return f"answers {count(len(questions), 'question')} of {len({one.group for one in questions})} tasks"

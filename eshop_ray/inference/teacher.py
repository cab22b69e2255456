"""A model that makes instruction rows: asked through the same engines as everything else, and never the same twice."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from ray.data import Dataset

from eshop_ray.artifacts import fingerprint, shorten_digest
from eshop_ray.config import Config
from eshop_ray.config.teacher import TeacherSection
from eshop_ray.data.instructions.teacher.commission import Teacher
from eshop_ray.datasets import map_items, user_errors
from eshop_ray.errors import UserError
from eshop_ray.inference.answer_identity import identify_engine
from eshop_ray.inference.answer_parts import AnswerParts
from eshop_ray.inference.batch import keep_answers, leave_out
from eshop_ray.inference.build import build_engine, count_block_rows, find_answering_model, use_endpoint
from eshop_ray.inference.reading import read_text
from eshop_ray.models import Model
from eshop_ray.progress import watch
from eshop_ray.schema import decode, encode

logger = logging.getLogger(__name__)

FOLDER = "teacher"
"""In the run directory: its answers stand beside a folder of this name."""
CONSTRAINT = "structured_outputs"
_FILES_PER_TASK = 64


@dataclass(frozen=True, slots=True)
class Hired:
    """A teacher that can be asked once Ray runs."""

    config: Config
    """In which the sections of inference speak of the teacher."""
    model: Model
    name: str
    """As rows carry it."""
    inputs: str
    """Digest of all that its answers depend on beside what it is asked."""


def hire_teacher(config: Config, section: TeacherSection) -> Hired:
    """Return the teacher of a recipe.

    Raises:
        UserError: if the model cannot be had, or the endpoint not be asked.
    """
    own = adapt_config(config, section)
    model = find_answering_model(own, "base")
    engine = identify_engine(own.infer, own.serve, model.digest)
    inputs = fingerprint([engine, own.infer.constrained])
    called = (
        own.openai.model
        if section.engine == "openai"
        else own.model.source.partition("?")[0].rstrip("/").rpartition("/")[2]
    )
    return Hired(own, model, f"{called}@{shorten_digest(inputs)}", inputs)


def adapt_config(config: Config, section: TeacherSection) -> Config:
    """Return a config whose sections of inference speak of the teacher."""
    infer = config.infer.model_copy(update={"engine": section.engine, "models": ("base",)})
    if section.engine == "openai":
        named = {"model": section.model} if section.model else {}
        return config.model_copy(update={"infer": infer, "openai": config.openai.model_copy(update=named)})
    named = {"source": section.model} if section.model else {}
    return config.model_copy(update={"infer": infer, "model": config.model.model_copy(update=named)})


@contextmanager
def open_teacher(hired: Hired) -> Iterator[Teacher]:
    """Yield the teacher for a while; Ray has to run.

    Its answers are kept in the run directory as they come, and so is what they cost: a build that was killed, and one
    of another recipe, ask only what has never been asked.
    """
    folder = hired.config.run_dir / FOLDER
    with use_endpoint(hired.config, folder, hired.inputs) as endpoint:
        yield Teacher(hired.name, partial(_ask, hired, AnswerParts(folder, hired.inputs), endpoint))


def _ask(hired: Hired, parts: AnswerParts, endpoint: Any, prompts: pa.Table, purpose: str) -> Dataset:
    """Return the answers to prompts, columns of `PREDICTION_SCHEMA`, after asking what has not been asked yet."""
    config = hired.config
    prompts = prompts if config.infer.constrained else _drop_constraint(prompts)
    answered = parts.open()
    wanted = set(prompts["id"].to_pylist())
    num_left = len(wanted - set(answered["id"].to_pylist()))
    if num_left < len(wanted):
        logger.info("%d of %d answers %s are there already", len(wanted) - num_left, len(wanted), purpose)
    if num_left:
        engine = build_engine(config.infer, _share(hired), read_text, num_left, endpoint=endpoint)
        with user_errors(), watch(f"asking {hired.name} {purpose}", num_left) as board:
            rows = leave_out(ray.data.from_arrow(prompts), answered).materialize()
            blocks = rows.repartition(target_num_rows_per_block=count_block_rows(config))
            keep_answers(engine(blocks), parts, board)
    if endpoint:
        endpoint.check_ended()
    answers = _read(parts, wanted).materialize()
    _check_failures(answers, hired.config.infer.max_failed_share)
    return answers


def _check_failures(answers: Dataset, max_share: float) -> None:
    """Refuse to go on where most questions have no answer: it is the teacher and not the rows.

    Raises:
        UserError: with the reasons.
    """
    errors = [row["error"] for row in answers.select_columns(["error"]).iter_rows()]
    failed = Counter(str(error).partition(":")[0] for error in errors if error is not None)
    if failed.total() > max_share * len(errors):
        reasons = ", ".join(f"{number} x {reason}" for reason, number in failed.most_common(5))
        raise UserError(
            f"the teacher gave no answer to {failed.total()} of {len(errors)} questions, more than "
            f"infer.max_failed_share={max_share:g} allows: {reasons}; answers are kept, the same command asks the "
            "others again. Where they are too_long, lower `instructions.teacher.num_shown` or `max_characters` there"
        )


def _share(hired: Hired) -> Any:
    return hired.model.share(hired.config.run_dir) if hired.model.folder else Path()


def _read(parts: AnswerParts, wanted: Collection[str]) -> Dataset:
    """Return the answers of some ids, as workers read them."""
    names = parts.list_files()
    chunks = [names[start : start + _FILES_PER_TASK] for start in range(0, len(names), _FILES_PER_TASK)]
    ids = pa.array(sorted(wanted), pa.string())

    def read(chunk: Sequence[str]) -> Iterator[pa.Table]:
        table = pa.concat_tables(parts.read_file(name) for name in chunk)
        yield table.filter(pc.is_in(table["id"], ids))

    return map_items(read, chunks)


def _drop_constraint(prompts: pa.Table) -> pa.Table:
    """Return prompts whose answers are not held to a form."""
    stated = [decode(params) for params in prompts["sampling_params"].to_pylist()]
    free = [encode({name: value for name, value in params.items() if name != CONSTRAINT}) for params in stated]
    place = prompts.column_names.index("sampling_params")
    return prompts.set_column(place, "sampling_params", pa.array(free, pa.string()))

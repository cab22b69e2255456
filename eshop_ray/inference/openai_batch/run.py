"""A batch from its file to its answers, in constant memory, going on from whatever stands there already.

input --scan--> chunks --plan--> chunks that lack something --read--> requests --engine--> answers --write--> output
output, error file --------^                                                                             +--> error file
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from ray.data import Dataset

from eshop_ray.artifacts import AnyFolder
from eshop_ray.config import InferSection
from eshop_ray.data.files import resolve
from eshop_ray.datasets import bound_stream, map_items, user_errors
from eshop_ray.errors import UserError
from eshop_ray.inference.build import build_api_engine
from eshop_ray.inference.dispatch.stage import CALLS_PER_BLOCK
from eshop_ray.inference.engines.oracle import refuse_oracle
from eshop_ray.inference.openai_batch.batch_files import BatchFiles, FinishedLines
from eshop_ray.inference.openai_batch.requests import REQUEST_SCHEMA, Rules, make_duplicate, read_request
from eshop_ray.inference.openai_batch.results import RESULT_SCHEMA, write_results
from eshop_ray.inference.openai_batch.source import BLANK, Chunk, Source, read_chunk, scan_source
from eshop_ray.places import show
from eshop_ray.progress import watch
from eshop_ray.schema import Row

logger = logging.getLogger(__name__)

DONE, OPEN, DUPLICATE = 0, 1, 2
"""What is to be done about a line: nothing, ask, refuse."""

States = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Batch:
    """What is left to do."""

    path: str
    """The input."""
    work: list[Row]
    """Of each chunk that lacks something: the chunk, and what is to be done about each line."""
    num_open: int
    """Lines without a result."""
    counts: dict[str, int]
    """Results that stand already: `num_answered`, `num_failed`."""


def look_through(path: str, infer: InferSection) -> Source:
    """Look through the input.

    Raises:
        UserError: if it cannot be read, or the engine has no answers to it.
    """
    refuse_oracle(infer, "a batch")
    return scan_source(resolve(".", path), CALLS_PER_BLOCK * infer.batch_size)


def check_models(source: Source, rules: Rules) -> None:
    """Refuse a batch all of whose requests are for other models: before an engine starts for nothing.

    Raises:
        UserError: naming the models that they ask for.
    """
    if not source.models or source.models.keys() & {None, *rules.served_names}:
        return
    asked = ", ".join(f"{name} ({count})" for name, count in source.models.most_common(5))
    raise UserError(
        f"{show(source.path)}: no request is for {' or '.join(rules.served_names)}; their `model` is {asked}; "
        "name it with --served-model-name"
    )


def check_failures(counts: Mapping[str, int], codes: Counter[str], max_share: float, where: str) -> None:
    """Have a batch of which most failed end as a failure, once everything is written.

    Args:
        counts: `num_answered` and `num_failed`.
        codes: How often each code comes among the failures.
        max_share: Of failures.
        where: They stand.

    Raises:
        UserError: if more requests failed than allowed.
    """
    total = counts["num_answered"] + counts["num_failed"]
    if total and counts["num_failed"] > max_share * total:
        reasons = ", ".join(f"{count} x {code}" for code, count in codes.most_common(5))
        raise UserError(
            f"{counts['num_failed']} of {total} requests failed, more than --max-failed-share={max_share:g} allows: "
            f"{reasons}; {where} says why. What is mended in the settings is asked again by the same command"
        )


def open_batch(
    files: BatchFiles,
    source: Source,
    infer: InferSection,
    identity: Mapping[str, Any],
    failures: str = "",
    retry_failed: bool = False,
) -> Batch:
    """Find out what an earlier run has left to do.

    Args:
        files: The opened output.
        source: The input.
        infer: Settings of the engine, to be noted.
        identity: What answers depend on beside the input, such as the model's digest.
        failures: Digest of what failures depend on beside that.
        retry_failed: Whether to ask failures again even if nothing changed.

    Raises:
        UserError: if the input or anything of the identity is not what the output was begun with.
    """
    shown = show(source.path)
    details = {"path": shown, "infer": infer.model_dump(mode="json")}
    files.begin({"input": source.digest, **identity}, details, failures, retry_failed)
    finished = files.read()
    states = find_states(source, finished)
    work = list(plan_work(source.chunks, states))
    num_lines, num_open = int((source.keys != BLANK).sum()), int((states != DONE).sum())
    if not num_lines:
        logger.info("%s: empty, there is nothing to answer", shown)
    elif num_open < num_lines:
        logger.info("%s: %d of %d requests have their result already", shown, num_lines - num_open, num_lines)
    counts = {"num_answered": len(finished.answered), "num_failed": len(finished.failed)}
    return Batch(source.path, work, num_open, counts)


def find_states(source: Source, finished: FinishedLines) -> States:
    """Return for each line of the input what is to be done about it."""
    states = np.full(len(source.keys), DUPLICATE, np.uint8)
    firsts = np.unique(source.keys, return_index=True)[1]
    states[firsts] = np.where(np.isin(source.keys[firsts], finished.answered), DONE, OPEN)
    states[source.keys == BLANK] = DONE
    states[finished.failed[finished.failed <= len(states)] - 1] = DONE
    return states


def plan_work(chunks: Sequence[Chunk], states: States) -> Iterator[Row]:
    """Yield a chunk and the states of its lines, for those that lack something."""
    for chunk in chunks:
        part = states[chunk.first_line - 1 : chunk.first_line - 1 + chunk.num_lines]
        if part.any():
            yield {"chunk": asdict(chunk), "states": part.tobytes().hex()}


def answer_batch(
    batch: Batch, files: BatchFiles, infer: InferSection, model_dir: AnyFolder, rules: Rules
) -> Counter[str]:
    """Answer what is left, write each block of results as it comes, and return `num_answered` and `num_failed` in all.

    Every line that is not blank ends as one line of the output or of the error file.
    """
    counts = Counter(batch.counts)
    ignored: Counter[str] = Counter()
    if batch.num_open:
        engine = build_api_engine(infer, model_dir, rules.served_names, num_rows=batch.num_open)
        with user_errors(), watch(f"answering {Path(show(batch.path)).name}", batch.num_open) as board:
            results = add_results(engine(read_requests(batch, rules)))
            for block in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                counts.update(files.append(block))
                num_errors = pc.sum(block["is_error"]).as_py() or 0
                board.add(rows=block.num_rows, tokens=pc.sum(block["num_tokens"]).as_py() or 0, errors=num_errors)
                ignored.update(pc.list_flatten(block["ignored"]).to_pylist())
    for name, count in ignored.most_common():
        logger.warning("`%s` means nothing to the server and had no effect: %d requests", name, count)
    files.finish(counts)
    return counts


def read_requests(batch: Batch, rules: Rules) -> Dataset:
    """Return the requests without a result, in columns of `REQUEST_SCHEMA`; each chunk is read when its turn comes."""

    def read(work: Row) -> Iterator[pa.Table]:
        yield pa.Table.from_pylist(list(read_rows(batch.path, work, rules)), schema=REQUEST_SCHEMA)

    return map_items(read, batch.work)


def read_rows(path: str, work: Row, rules: Rules) -> Iterator[Row]:
    """Yield the rows of a chunk's lines that lack something."""
    states = bytes.fromhex(work["states"])
    for state, (number, line) in zip(states, read_chunk(path, Chunk(**work["chunk"])), strict=True):
        if state != DONE:
            yield read_request(line, number, rules) if state == OPEN else make_duplicate(line, number)


def add_results(answers: Dataset) -> Dataset:
    """Return the lines of answers, columns of `RESULT_SCHEMA`.

    Args:
        answers: What an engine makes of `REQUEST_SCHEMA`.
    """

    def write(block: pa.Table) -> pa.Table:
        if not block.num_rows:  # Ray may leave out an empty block's columns
            return RESULT_SCHEMA.empty_table()
        return write_results(block)

    return bound_stream(answers.map_batches(write, batch_format="pyarrow", batch_size=None))

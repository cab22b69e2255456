"""Rows to learn from, as integers of the token store: what a conventional model reads, and what it is to say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from eshop_ray.artifacts import AnyFolder
from eshop_ray.data.conventional import (
    IGNORED,
    TooLongError,
    encode_answer,
    encode_question,
    encode_written,
    find_question,
    write_question,
)
from eshop_ray.data.tokenization import TOKEN_SCHEMA, TOO_LONG
from eshop_ray.models.conventional import Spec, load_plain_tokenizer
from eshop_ray.schema import decode
from eshop_ray.tasks import get_task
from eshop_ray.tasks.heads import Kind
from eshop_ray.training.packing.pack import TokenRow

if TYPE_CHECKING:
    from ray.data import Dataset

GAIN_SCALE = 1000
"""Gains of candidates are kept as whole numbers of thousandths."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One row of a batch."""

    id: str
    task: str
    head: int
    """Number of the encoder's head; 0 for models that write."""
    inputs: list[list[int]]
    """Token ids: one sequence, or one for each candidate."""
    labels: list[int]
    """Of tags: the label of each token, or `IGNORED`; of a label: its number; of candidates: their gains, in
    thousandths; of an answer: its ids."""
    weight: float
    """What the row counts in the loss."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of the head, tokens of the longest sequence, and number of sequences."""
        return self.head, max(map(len, self.inputs)), len(self.inputs)


def add_rows(prompts: "Dataset", model_dir: AnyFolder, spec: Spec) -> "Dataset":
    """Turn prompts with their targets into rows to learn from.

    Args:
        prompts: Columns of `PROMPT_SCHEMA`.
        model_dir: Folder of the tokenizer.
        spec: Of the model, with its heads.

    Returns:
        Columns of `TOKEN_SCHEMA`; a row that cannot be learned from keeps its place, with its `error`.
    """

    def encode_batch(batch: pa.Table) -> pa.Table:
        rows = [encode_row(row, load_plain_tokenizer(model_dir), spec) for row in batch.to_pylist()]
        return pa.Table.from_pylist(rows, schema=TOKEN_SCHEMA)

    return prompts.map_batches(encode_batch, batch_format="pyarrow")


def encode_row(row: Mapping[str, Any], tokenizer: Any, spec: Spec) -> dict[str, Any]:
    """Return one row of `TOKEN_SCHEMA` for one row of `PROMPT_SCHEMA`."""
    tokens = {"id": row["id"], "task": row["task"], "error": row["error"]}
    if row["error"]:
        return tokens
    try:
        encode = _encode_for_head if spec.architecture == "encoder" else _encode_written
        return {**tokens, **encode(row, tokenizer, spec)}
    except Exception as error:  # whatever one row holds, the other rows go on
        reason = TOO_LONG if isinstance(error, TooLongError) else "encode"
        return {**tokens, "error": f"{reason}: {type(error).__name__}: {error}"}


def _encode_for_head(row: Mapping[str, Any], tokenizer: Any, spec: Spec) -> dict[str, Any]:
    head, question = find_question(get_task(row["task"]), row["messages"])
    number = spec.find_head(row["task"], head.kind)
    assert number is not None
    encoded = encode_question(tokenizer, head.kind, question, spec.max_length)
    said = head.to_labels(decode(row["target"]), question)
    labels = to_numbers(head.kind, said, spec.heads[number].labels, encoded.places, len(encoded.inputs[0]))
    lengths = [len(ids) for ids in encoded.inputs]
    return {
        "prompt_ids": [token for ids in encoded.inputs for token in ids],
        "answer_ids": [number, len(lengths), *lengths, *labels],
        "num_cut": int(encoded.is_cut),
    }


def to_numbers(
    kind: Kind, said: Sequence[Any], labels: Sequence[str], places: Sequence[int], num_tokens: int
) -> list[int]:
    """Return what is to be said as the numbers that a loss goes by; see `ModelRow.labels`."""
    if kind == "candidates":
        return [round(GAIN_SCALE * float(gain)) for gain in said]
    if kind == "label":
        return [labels.index(said[0])]
    numbers = [IGNORED] * num_tokens
    for place, tag in zip(places, said, strict=True):
        if place >= 0:
            numbers[place] = labels.index(tag)
    return numbers


def _encode_written(row: Mapping[str, Any], tokenizer: Any, spec: Spec) -> dict[str, Any]:
    task = get_task(row["task"])
    answer = encode_answer(tokenizer, spec, task.format_target(decode(row["target"])))
    ids, is_cut = encode_written(tokenizer, spec, write_question(row["messages"]), task.max_tokens)
    room = spec.max_length - (len(ids) if spec.architecture == "causal" else 1)
    if len(answer) > room:
        raise TooLongError(f"an answer of {len(answer)} tokens; the model has room for {room}")
    return {"prompt_ids": ids, "answer_ids": [0, 1, len(ids), *answer], "num_cut": int(is_cut)}


def decode_row(row: TokenRow, weight: float) -> ModelRow:
    """Return a row of the store as a row of a batch."""
    head, count, *rest = row.answer_ids
    lengths, labels = rest[:count], rest[count:]
    inputs, start = [], 0
    for length in lengths:
        inputs.append(list(row.prompt_ids[start : start + length]))
        start += length
    return ModelRow(row.id, row.task, head, inputs, list(labels), weight)

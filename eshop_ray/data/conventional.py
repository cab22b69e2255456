"""Questions -> token ids of conventional models, the same ids in training and in inference."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from eshop_ray.models.conventional import Spec
from eshop_ray.schema import Message, decode
from eshop_ray.tasks import Task, get_task
from eshop_ray.tasks.heads import Head, Kind, NoLabelError, Question

if TYPE_CHECKING:
    import torch
    from ray.data import Dataset

IGNORED = -100
"""Label of what has none."""


class UnreadableError(ValueError):
    """A question that the model cannot be asked; the message says why, without its text."""


class TooLongError(UnreadableError):
    """Words to tag that the model would not see."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A question as an encoder reads it."""

    inputs: list[list[int]]
    """Token ids: one sequence, or one for each candidate."""
    places: tuple[int, ...] = ()
    """Of tags: where each word begins in the sequence; -1 for a word of which the tokenizer leaves nothing."""
    is_cut: bool = False
    """Whether some text had to go."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(map(len, self.inputs))


def find_question(task: Task, messages: Sequence[Message]) -> tuple[Head, Question]:
    """Return the head that a question is for, and the question.

    Raises:
        UnreadableError: if none of the task's heads can read it.
    """
    for head in task.heads:
        question = head.read(messages[-1]["content"])
        if question is not None:
            return head, question
    raise UnreadableError("no options are found in the question" if task.heads else "no head reads it")


def encode_question(tokenizer: Any, kind: Kind, question: Question, max_length: int) -> Encoded:
    """Return what an encoder reads. Text that is too long loses its end, that of candidates and question alike.

    Raises:
        UnreadableError: if there is no word to tag.
        TooLongError: if words to tag would go: their tags would be made up.
    """
    if kind == "tags":
        return _encode_words(tokenizer, question, max_length)
    if kind == "candidates":
        pairs = [tokenizer(question.text, one)["input_ids"] for one in question.candidates]
        cut = [
            tokenizer(question.text, one, truncation="longest_first", max_length=max_length)["input_ids"]
            for one in question.candidates
        ]
        return Encoded(cut, is_cut=cut != pairs)
    whole = tokenizer(question.text)["input_ids"]
    ids = tokenizer(question.text, truncation=True, max_length=max_length)["input_ids"]
    return Encoded([ids], is_cut=len(ids) < len(whole))


def _encode_words(tokenizer: Any, question: Question, max_length: int) -> Encoded:
    if not question.words:
        raise UnreadableError("there is no word to tag")
    coded = tokenizer(question.text, return_offsets_mapping=True, return_special_tokens_mask=True)
    ids = coded["input_ids"]
    if len(ids) > max_length:
        raise TooLongError(f"{len(ids)} tokens, and the model reads {max_length}")
    spans = zip(coded["offset_mapping"], coded["special_tokens_mask"], strict=True)
    starts = [-1 if special else _find_start(question.text, *span) for span, special in spans]
    places, token = [], 0
    for start, end in question.words:
        token = next((place for place in range(token, len(starts)) if starts[place] >= start), len(starts))
        places.append(token if token < len(starts) and starts[token] < end else -1)
    return Encoded([ids], tuple(places))


def _find_start(text: str, start: int, end: int) -> int:
    """Return where a token's text begins, some tokenizers counting the blank before a word to it; -1 if it has none."""
    token = text[start:end]
    return start + len(token) - len(token.lstrip()) if token.strip() else -1


def write_question(messages: Sequence[Message]) -> str:
    """Return a conversation as plain text, for models without a chat template: the turns, a line each."""
    return "\n".join(message["content"] for message in messages)


def encode_written(tokenizer: Any, spec: Spec, text: str, room: int = 0) -> tuple[list[int], bool]:
    """Return the ids of a question to a model that writes, and whether its end had to go.

    Args:
        tokenizer: The model's.
        spec: Of the model.
        text: The question.
        room: Tokens that a causal model needs for its answer; half of its length at most are kept free.
    """
    is_causal = spec.architecture == "causal"
    room = min(room, spec.max_length // 2)
    ids = tokenizer(text, add_special_tokens=not is_causal)["input_ids"]
    ending = tokenizer("\n", add_special_tokens=False)["input_ids"] if is_causal else ids[-1:]
    limit = max(1, spec.max_length - (room if is_causal else 0)) - (len(ending) if is_causal else 0)
    is_cut = len(ids) > limit
    if is_causal:
        return [*ids[:limit], *ending], is_cut
    return ([*ids[: limit - 1], *ending] if is_cut else ids), is_cut


def encode_answer(tokenizer: Any, spec: Spec, text: str) -> list[int]:
    """Return the ids of an answer to learn, with its end."""
    ids: list[int] = tokenizer(text_target=text, add_special_tokens=spec.architecture != "causal")["input_ids"]
    end = tokenizer.eos_token_id
    return ids if ids[-1:] == [end] else [*ids, end]


def divide(shapes: Sequence[tuple[int, int, int]], max_tokens: int) -> Iterator[list[int]]:
    """Yield the places of questions that are computed together: of one head, and of about one length.

    Args:
        shapes: Number of the head, tokens of the longest sequence, and number of sequences, of each question.
        max_tokens: Of a batch with its padding, unless it is one question.
    """
    batch: list[int] = []
    num_sequences = 0
    for place in sorted(range(len(shapes)), key=lambda place: (shapes[place], place)):
        head, length, count = shapes[place]
        if batch and (head != shapes[batch[0]][0] or (num_sequences + count) * length > max_tokens):
            yield batch
            batch, num_sequences = [], 0
        batch.append(place)
        num_sequences += count
    if batch:
        yield batch


def count_labels(prompts: "Dataset") -> dict[tuple[str, Kind], Counter[str]]:
    """Return how many rows are to say each label, by task and kind of head; rows that fit no head are left out.

    Args:
        prompts: Columns of `PROMPT_SCHEMA`.
    """

    def count(batch: pa.Table) -> pa.Table:
        columns = batch.select(["task", "messages", "target", "error"])
        found = Counter(triple for row in columns.to_pylist() for triple in _list_labels(row))
        rows = [dict(zip(_COUNT_SCHEMA.names, (*triple, number), strict=True)) for triple, number in found.items()]
        return pa.Table.from_pylist(rows, schema=_COUNT_SCHEMA)

    counts: dict[tuple[str, Kind], Counter[str]] = {}
    for row in prompts.map_batches(count, batch_format="pyarrow", batch_size=None).iter_rows():
        counts.setdefault((row["task"], row["kind"]), Counter())[row["label"]] += row["num_rows"]
    return counts


SCORE = "score"
"""The one label of a head that ranks candidates."""

_COUNT_SCHEMA = pa.schema(
    [("task", pa.string()), ("kind", pa.string()), ("label", pa.string()), ("num_rows", pa.int64())]
)


def _list_labels(row: Mapping[str, Any]) -> Iterator[tuple[str, Kind, str]]:
    """Yield task, kind of head and label of what a row is to say, each label once."""
    if row["error"] or row["messages"] is None:
        return
    try:
        head, question = find_question(get_task(row["task"]), row["messages"])
        said = head.to_labels(decode(row["target"]), question)
    except (UnreadableError, NoLabelError):
        return
    for label in dict.fromkeys([SCORE] if head.kind == "candidates" else map(str, said)):
        yield row["task"], head.kind, label


def pad(
    sequences: Sequence[Sequence[int]], tokenizer: Any, device: "torch.device", left: bool = False
) -> dict[str, Any]:
    """Return sequences as one batch of a model's inputs, (B, T) each.

    Args:
        sequences: Token ids.
        tokenizer: Says what pads, and whether the model tells the two texts of a pair apart.
        device: Where the batch goes.
        left: Whether padding comes first, as it does where a model goes on writing.
    """
    import torch

    width = max(map(len, sequences))
    filler = [[tokenizer.pad_token_id] * (width - len(ids)) for ids in sequences]
    rows = zip(sequences, filler, strict=True)
    ids = torch.tensor([[*fill, *own] if left else [*own, *fill] for own, fill in rows])
    lengths = torch.tensor([len(own) for own in sequences])[:, None]
    place = torch.arange(width)[None, :]
    mask = (place >= width - lengths if left else place < lengths).long()
    batch = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in tokenizer.model_input_names and tokenizer.sep_token_id is not None:
        is_end = (ids == tokenizer.sep_token_id).long()
        batch["token_type_ids"] = (is_end.cumsum(1) - is_end).clamp(max=1) * mask
    return {name: values.to(device) for name, values in batch.items()}

"""The process that runs a conventional model: one thread computes, whoever asks."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from eshop_ray.artifacts import AnyFolder
from eshop_ray.data.conventional import (
    Encoded,
    TooLongError,
    UnreadableError,
    divide,
    encode_question,
    encode_written,
    find_question,
    pad,
)
from eshop_ray.inference.engines.iob2 import find_best_tags
from eshop_ray.inference.requests import Answer, Failure, Reply, Request
from eshop_ray.models.conventional import HeadSpec, Spec, load_plain_tokenizer, read_spec
from eshop_ray.models.conventional_weights import load_model
from eshop_ray.tasks import Task, get_task
from eshop_ray.tasks.heads import OUTSIDE, Head, Question, list_offered

TOKENS_PER_PASS = 8192
"""Tokens of a forward pass with its padding, at most."""
TOKENS_PER_GENERATION = 4096
"""The same of a batch that is written: its answers come on top."""


class ConventionalActor:
    """Answers calls one after the other."""

    def __init__(self, model_dir: AnyFolder, use_gpu: bool, num_threads: int | None) -> None:
        self._model_dir = model_dir
        self._device = torch.device("cuda" if use_gpu else "cpu")
        self._num_threads = num_threads
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._answerer: Answerer | None = None
        self._num_batches = 0

    async def ready(self) -> None:
        """Return when the model is loaded."""
        await self._run(self._load)

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer a call."""
        replies: list[Reply] = await self._run(self._answer, requests)
        return replies

    async def measure_progress(self) -> int:
        """Return the batches that were computed."""
        return self._num_batches

    async def _run(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _load(self) -> None:
        if self._answerer is not None:
            return
        if self._num_threads:
            torch.set_num_threads(self._num_threads)
        folder = Path(self._model_dir)
        spec = read_spec(folder)
        model = load_model(folder, spec).to(self._device)
        kind = EncoderAnswerer if spec.architecture == "encoder" else WritingAnswerer
        self._answerer = kind(model, spec, load_plain_tokenizer(folder), self._device)

    def _answer(self, requests: Sequence[Request]) -> list[Reply]:
        assert self._answerer is not None
        replies: dict[int, Reply] = {}
        for answered in self._answerer.answer(requests):
            replies.update(answered)
            self._num_batches += 1
        return [replies[place] for place in range(len(requests))]


class Answerer(Protocol):
    """A model that answers requests, batch after batch."""

    def answer(self, requests: Sequence[Request]) -> Iterable[Mapping[int, Reply]]:
        """Yield replies by the places of their requests."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question to an encoder."""

    task: Task
    head: Head
    number: int
    question: Question
    encoded: Encoded

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of the head, tokens of the longest sequence, and number of sequences."""
        return self.number, max(map(len, self.encoded.inputs)), len(self.encoded.inputs)


@dataclass(frozen=True, slots=True)
class EncoderAnswerer:
    """Heads over an encoder; what they say is written out as the task writes a target."""

    model: Any
    spec: Spec
    tokenizer: Any
    device: torch.device

    def answer(self, requests: Sequence[Request]) -> Iterable[Mapping[int, Reply]]:
        """Yield replies by the places of their requests: first what cannot be asked, then batches."""
        read = {place: self._read(request) for place, request in enumerate(requests)}
        yield {place: one for place, one in read.items() if not isinstance(one, _Asked)}
        asked = [(place, one) for place, one in read.items() if isinstance(one, _Asked)]
        for batch in divide([one.shape for _, one in asked], TOKENS_PER_PASS):
            chosen = [asked[number] for number in batch]
            answers = self._compute([one for _, one in chosen])
            yield {place: answer for (place, _), answer in zip(chosen, answers, strict=True)}

    def _read(self, request: Request) -> _Asked | Reply:
        if not request.weights:  # asked whether the engine lives
            return Answer("", "stop", 0, 0)
        task = get_task(request.weights)
        try:
            head, question = find_question(task, [{"role": "user", "content": str(request.prompt)}])
            number = self.spec.find_head(task.name, head.kind)
            if number is None:
                raise UnreadableError(f"the model has no head for questions of this kind ({head.kind})")
            known = self.spec.heads[number].labels
            if head.kind == "label" and not list_offered(known, question.offered):
                raise UnreadableError("none of the labels that are offered was in training")
            encoded = encode_question(self.tokenizer, head.kind, question, self.spec.max_length)
        except TooLongError as error:
            return Failure("too_long", str(error))
        except UnreadableError as error:
            return Failure("prompt", str(error))
        except Exception as error:  # whatever one row holds, the other rows go on
            return Failure("tokenize", type(error).__name__)
        return _Asked(task, head, number, question, encoded)

    def _compute(self, batch: Sequence[_Asked]) -> list[Reply]:
        sequences = [ids for one in batch for ids in one.encoded.inputs]
        spec = self.spec.heads[batch[0].number]
        with torch.inference_mode():
            scores = self.model(batch[0].number, **pad(sequences, self.tokenizer, self.device)).float().cpu()
        parts = scores.split([len(one.encoded.inputs) for one in batch])
        return [_write(one, spec, part) for one, part in zip(batch, parts, strict=True)]


def _write(asked: _Asked, spec: HeadSpec, scores: Tensor) -> Reply:
    """Write out what a head says.

    Args:
        asked: The question.
        spec: The head.
        scores: (1, T, labels) of tags, (1, labels) of a label, (candidates, 1) of candidates.
    """
    said: list[Any]
    if spec.kind == "candidates":
        said = scores[:, 0].tolist()
    elif spec.kind == "label":
        offered = list_offered(spec.labels, asked.question.offered)
        said = [spec.labels[offered[int(scores[0][offered].argmax())]]]
    else:
        said = _choose_tags(asked.encoded.places, spec.labels, scores[0])
    text = asked.task.format_target(asked.head.to_target(said, asked.question))
    return Answer(text, "stop", asked.encoded.num_tokens, 0)


def _choose_tags(places: Sequence[int], labels: Sequence[str], scores: Tensor) -> list[str]:
    """Return the tag of each word; one of which the tokenizer leaves nothing belongs to no span."""
    seen = [place for place in places if place >= 0]
    if not seen:
        return [OUTSIDE] * len(places)
    tags = iter(find_best_tags(log_softmax(scores[seen], 1).numpy(), labels))
    chosen = [next(tags) if place >= 0 else OUTSIDE for place in places]
    # A span that such a word divides begins anew behind it.
    return [
        f"B-{tag[2:]}" if tag.startswith("I-") and chosen[place - 1][2:] != tag[2:] else tag
        for place, tag in enumerate(chosen)
    ]


@dataclass(frozen=True, slots=True)
class WritingAnswerer:
    """A sequence-to-sequence or a causal model, by `generate` of Transformers."""

    model: Any
    spec: Spec
    tokenizer: Any
    device: torch.device

    def answer(self, requests: Sequence[Request]) -> Iterable[Mapping[int, Reply]]:
        """Yield replies by the places of their requests; a batch has one limit of tokens and one temperature."""
        limits = [(request.params["max_tokens"], float(request.params.get("temperature", 0))) for request in requests]
        encoded = [self._encode(request, limit) for request, (limit, _) in zip(requests, limits, strict=True)]
        known = sorted(set(limits))
        shapes = [(known.index(limit), len(ids), 1) for limit, ids in zip(limits, encoded, strict=True)]
        for batch in divide(shapes, TOKENS_PER_GENERATION):
            answers = self._compute([encoded[place] for place in batch], *limits[batch[0]])
            yield dict(zip(batch, answers, strict=True))

    def _encode(self, request: Request, max_tokens: int) -> list[int]:
        return encode_written(self.tokenizer, self.spec, str(request.prompt), max_tokens)[0]

    def _compute(self, batch: Sequence[list[int]], max_tokens: int, temperature: float) -> list[Reply]:
        is_causal = self.spec.architecture == "causal"
        inputs = pad(batch, self.tokenizer, self.device, left=is_causal)
        inputs.pop("token_type_ids", None)
        if is_causal:
            max_tokens = min(max_tokens, self.spec.max_length - inputs["input_ids"].shape[1])
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        with torch.inference_mode():
            written = self.model.generate(
                **inputs,
                **sampling,
                max_new_tokens=max_tokens,
                num_beams=1,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            ).cpu()
        start = inputs["input_ids"].shape[1] if is_causal else 1
        pairs = zip(batch, written[:, start:].tolist(), strict=True)
        return [self._read(len(ids), answer) for ids, answer in pairs]

    def _read(self, num_input: int, ids: list[int]) -> Answer:
        end = self.tokenizer.eos_token_id
        is_ended = end in ids
        own = ids[: ids.index(end) + 1] if is_ended else ids
        text = self.tokenizer.decode(own, skip_special_tokens=True)
        return Answer(text, "stop" if is_ended else "length", num_input, len(own))

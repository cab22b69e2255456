"""What is answered at each address."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol, cast

from eshop_ray.data.prompts import PromptSettings
from eshop_ray.errors import find_nearest
from eshop_ray.inference.openai_api import CHAT_URL, COMPLETIONS_URL
from eshop_ray.inference.requests import Answer, ApiAnswer, Failure
from eshop_ray.serving.calls import ApiCall, Piece, PromptCall
from eshop_ray.serving.errors import (
    MODEL_DOWN,
    RefusalError,
    Reply,
    busy_model,
    render_answer,
    render_refusal,
    reply_json,
)
from eshop_ray.serving.openapi import describe_api
from eshop_ray.serving.readiness import Readiness
from eshop_ray.serving.spending import MeteredModel
from eshop_ray.serving.task_answers import MAX_RECORDS, build_call, find_task, read_answer
from eshop_ray.serving.usage import Cost, StreamFilter, count_always
from eshop_ray.serving.visits import Download, Visit
from eshop_ray.tasks import Task

RECORDS_AT_A_TIME = 16
MAX_NAME_CHARACTERS = 128
"""Of an unknown model, that are compared with those there are."""


class Events(AbstractAsyncContextManager["Events"]):
    """A response that is sent as it comes; leaving it has the model stop."""

    def __init__(self, pieces: AsyncIterator[Piece], first: list[str], events: StreamFilter) -> None:
        self._pieces, self._first, self._filter = pieces, first, events
        self.events = self._read()

    async def __aexit__(self, *_: object) -> None:
        await cast("Any", self.events).aclose()
        await cast("Any", self._pieces).aclose()

    async def _read(self) -> AsyncIterator[str]:
        for event in self._first:
            yield self._filter.rewrite(event)
        async for piece in self._pieces:
            if not isinstance(piece, list):
                raise RefusalError(503, "the model broke off", MODEL_DOWN)
            for event in piece:
                yield self._filter.rewrite(event)


class Stream(Protocol):
    """A response that comes in pieces; it is entered before they are read, and left in any case."""

    events: AsyncIterator[str]

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *_: object) -> bool | None: ...


Outcome = Reply | Stream | Download


class Endpoints:
    """Each takes a request that may pass, with the object in its body, and returns its response."""

    def __init__(
        self,
        model_id: str,
        tasks: PromptSettings,
        metered: MeteredModel,
        readiness: Readiness,
        adapters: Sequence[str] = (),
    ) -> None:
        self.model_id, self._tasks, self._metered, self._readiness = model_id, tasks, metered, readiness
        self._names = (model_id, *adapters)

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer together, at most, once the model is up."""
        return self._readiness.facts.context

    async def describe(self, _visit: Visit, _body: dict[str, Any]) -> Reply:
        """The documentation of all addresses."""
        return reply_json(describe_api(self.model_id, self._names[1:]))

    async def list_models(self, _visit: Visit, _body: dict[str, Any]) -> Reply:
        """The models that can be asked."""
        return reply_json({"object": "list", "data": [self._describe_model(name) for name in self._names]})

    async def find_model(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """One of them."""
        name = visit.path_params["model"]
        self._check_model(name)
        return reply_json(self._describe_model(name))

    async def chat(self, visit: Visit, body: dict[str, Any]) -> Outcome:
        """A chat."""
        return await self._call_api(visit, ApiCall(CHAT_URL, body))

    async def complete(self, visit: Visit, body: dict[str, Any]) -> Outcome:
        """A text to go on with."""
        return await self._call_api(visit, ApiCall(COMPLETIONS_URL, body))

    async def answer_record(self, visit: Visit, body: dict[str, Any]) -> Reply:
        """The prediction of a task for a record."""
        return reply_json(await self._predict(visit, open_task(visit), body))

    async def answer_records(self, visit: Visit, body: dict[str, Any]) -> Reply:
        """The predictions of a task for several records, or for each what kept it from one."""
        task = open_task(visit)
        records = body.get("records")
        if not isinstance(records, list) or not 1 <= len(records) <= MAX_RECORDS:
            raise RefusalError(422, f"`records` has to be a list of 1 to {MAX_RECORDS} records", "invalid_value")
        room = asyncio.Semaphore(RECORDS_AT_A_TIME)

        async def answer(record: Any) -> dict[str, Any]:
            async with room:
                try:
                    return await self._predict(visit, task, record)
                except RefusalError as error:
                    refusal: dict[str, Any] = json.loads(render_refusal(error).body)
                    return refusal

        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(answer(record)) for record in records]
        return reply_json({"results": [one.result() for one in answers]})

    async def _predict(self, visit: Visit, task: Task, record: Any) -> dict[str, Any]:
        if not isinstance(record, dict):
            raise RefusalError(422, "a record has to be a JSON object", "invalid_record")
        call = build_call(task, record, visit.request_id, self._tasks)
        async with aclosing(self._ask(visit, call, Cost())) as pieces:  # type: ignore[type-var]
            piece = await anext(pieces)
            await anext(pieces, None)
        if isinstance(piece, ApiAnswer):  # of a replica that has no room, or is in trouble
            raise busy_model()
        assert isinstance(piece, Answer | Failure)
        return {"model": self.model_id, **read_answer(task, piece)}

    async def _call_api(self, visit: Visit, call: ApiCall) -> Outcome:
        self._check_model(call.body.get("model"))
        cost = Cost()
        asked = ApiCall(call.url, count_always(call.body)) if wants_stream(call.body) else call
        pieces = self._ask(visit, asked, cost)
        try:
            first = await anext(pieces)
            if isinstance(first, list):
                return Events(pieces, first, StreamFilter.of(call.body, cost))
            await anext(pieces, None)
        except BaseException:
            await cast("Any", pieces).aclose()
            raise
        assert isinstance(first, ApiAnswer)
        return render_answer(first, call.body)

    def _ask(self, visit: Visit, call: ApiCall | PromptCall, cost: Cost) -> AsyncIterator[Piece]:
        return self._metered.ask(visit, call, cost)

    def _check_model(self, name: Any) -> None:
        if name in self._names:
            return
        is_text = isinstance(name, str) and name
        nearest = find_nearest(name[:MAX_NAME_CHARACTERS], self._names) if is_text else self.model_id
        raise RefusalError(
            404, f"there is no such model; the nearest is `{nearest}`, /v1/models lists all", "model_not_found", "model"
        )

    def _describe_model(self, name: str) -> dict[str, Any]:
        context = self._readiness.facts.context
        card = {"id": name, "object": "model", "created": 0, "owned_by": "eshop", "max_model_len": context}
        return card if name == self.model_id else {**card, "parent": self.model_id}


def open_task(visit: Visit) -> Task:
    """Return the task that a request is for, and note it there.

    Raises:
        RefusalError: if there is none of that name.
    """
    task = find_task(visit.path_params["task"])
    visit.task = task.name
    return task


def wants_stream(body: dict[str, Any]) -> bool:
    """Return whether a request asks for a stream.

    Raises:
        RefusalError: if that cannot be told, or what it says of the stream is not an object: vLLM would read `1` or
            `"yes"` as true, and nobody would have counted what the stream costs.
    """
    is_stream = body.get("stream")
    if is_stream is None:
        return False
    if not isinstance(is_stream, bool):
        raise RefusalError(400, "has to be true or false", "invalid_value", "stream")
    if is_stream and not isinstance(body.get("stream_options") or {}, dict):
        raise RefusalError(400, "has to be an object", "invalid_value", "stream_options")
    return is_stream

"""The deployed model as an engine of the dispatch: each line is answered, limited and charged like a request."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from uuid import uuid4

from starlette.datastructures import Headers

from eshop_ray.inference.dispatch.lifecycle import EngineDiedError
from eshop_ray.inference.openai_api import SERVER_ERROR
from eshop_ray.inference.requests import ApiAnswer, Busy, Reply, Request
from eshop_ray.serving.batches.lines import LineRequest
from eshop_ray.serving.calls import Piece
from eshop_ray.serving.errors import MODEL_DOWN, RefusalError, render_answer, render_refusal
from eshop_ray.serving.keys import ApiKey
from eshop_ray.serving.metrics import Recorder, record_line
from eshop_ray.serving.spending import DeniedError, MeteredModel
from eshop_ray.serving.task_answers import read_answer
from eshop_ray.serving.usage import Cost
from eshop_ray.serving.visits import Visit

START_SECONDS = 600.0
"""A model that does not say what it is for so long is in trouble."""


class DeployedEngine:
    """Asks the deployment behind the endpoint, which Ray Serve keeps up."""

    def __init__(
        self, metered: MeteredModel, model_id: str, find_key: Callable[[], ApiKey | None], recorder: Recorder
    ) -> None:
        """Put the parts together.

        Args:
            metered: The model, within budgets.
            model_id: What clients call it.
            find_key: Returns whose lines they are, as the key holds now; None on an endpoint without keys.
            recorder: Where lines that were asked are counted.
        """
        self._metered, self._model_id, self._find_key = metered, model_id, find_key
        self._recorder = recorder
        self.num_asked = 0
        """Lines that the model has in hand."""

    async def start(self) -> None:
        """Wait until the model is up.

        Raises:
            EngineDiedError: if it is not for long.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._metered.facts.ask()
        except (TimeoutError, RefusalError) as error:
            raise EngineDiedError(type(error).__name__) from None

    async def ask(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """Ask one after the other; calls of a batch have one line.

        Raises:
            EngineDiedError: if the replica that was asked is gone.
            DeniedError: if the key's tokens are spent, or set aside.
        """
        return [await self._ask(request) for request in requests if isinstance(request, LineRequest)]

    async def measure_progress(self) -> int | None:
        """Return None: replicas come and go."""
        return None

    async def stop(self) -> None:
        """Leave the deployment alone: it serves others too, and heals itself."""

    async def _ask(self, request: LineRequest) -> Reply:
        task = request.task.name if request.task else None
        visit = Visit({}, Headers(), uuid4().hex, is_named=False, route=request.url, task=task, key=self._find_key())
        self.num_asked += 1
        try:
            async with aclosing(self._metered.ask(visit, request.call, Cost())) as pieces:  # type: ignore[type-var]
                piece = await anext(pieces)
                await anext(pieces, None)
            reply = self._read(request, piece)
        except RefusalError as error:
            visit.refusal = error.code
            reply = judge(error)
        finally:
            self.num_asked -= 1
        if isinstance(reply, ApiAnswer):  # else it is asked again
            visit.status = reply.status
            record_line(self._recorder, visit)
        return reply

    def _read(self, request: LineRequest, piece: Piece) -> Reply:
        """Return what a client would get for a line."""
        assert not isinstance(piece, list)
        if isinstance(piece, ApiAnswer):
            if piece.status == 429:
                return Busy("HTTP 429")
            if piece.status >= SERVER_ERROR:  # of it, for all that is known: it is asked again, alone
                raise EngineDiedError(f"HTTP {piece.status}")
            reply = render_answer(piece, request.read_body())
            return ApiAnswer(reply.status, reply.body.decode(), piece.num_input_tokens, piece.num_generated_tokens)
        assert request.task is not None
        return ApiAnswer(200, json.dumps({"model": self._model_id, **read_answer(request.task, piece)}))


def judge(error: RefusalError) -> Reply:
    """Return what a refusal means for its line.

    Raises:
        EngineDiedError: if the replica that was asked is gone.
        DeniedError: if the line may be asked another time.
    """
    if isinstance(error, DeniedError) and error.denial.reason != "too_large":
        raise error
    if error.code == MODEL_DOWN:
        raise EngineDiedError(error.message)
    if error.status >= SERVER_ERROR:
        return Busy(error.code)
    return ApiAnswer(error.status, render_refusal(error).body.decode())

"""The same question is asked once: rows that would get the same answer share it."""

import asyncio
import hashlib
import json
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from eshop_ray.inference.requests import Answer, ApiAnswer, ApiRequest, Outcome, Request

MAX_KEPT = 100_000
"""Answers kept for rows to come, the latest used ones: some 50 MiB of short ones."""

MAX_KEPT_CHARACTERS = 2000
"""Of a response; one with the probabilities of all its tokens is not kept."""


class Deduplicator:
    """Stands before whoever answers, and passes on what has not been asked before.

    Only requests without chance in them are shared: with temperature 0, or with a seed. Failures are shared by the rows
    that wait for them and then forgotten.
    """

    def __init__(
        self, answer: Callable[[Sequence[Request]], Awaitable[list[Outcome]]], max_kept: int = MAX_KEPT
    ) -> None:
        self._answer = answer
        self._max_kept = max_kept
        self._kept: OrderedDict[bytes, Outcome] = OrderedDict()
        self._open: dict[bytes, asyncio.Future[Outcome]] = {}

    async def answer(self, requests: Sequence[Request]) -> list[Outcome]:
        """Return one outcome per request, in order. Several batches may be answered at the same time."""
        keys = [identify(request) for request in requests]
        outcomes: dict[int, Outcome] = {}
        waiting: dict[int, asyncio.Future[Outcome]] = {}
        asked: list[int] = []
        for index, key in enumerate(keys):
            if key is None:
                asked.append(index)
            elif key in self._kept:
                self._kept.move_to_end(key)
                outcomes[index] = self._kept[key]
            elif key in self._open:
                waiting[index] = self._open[key]
            else:
                self._open[key] = asyncio.get_running_loop().create_future()
                asked.append(index)
        try:
            fresh = await self._answer([requests[index] for index in asked]) if asked else []
        except BaseException as error:
            for index in asked:
                self._give_up(keys[index], error)
            raise
        for index, outcome in zip(asked, fresh, strict=True):
            outcomes[index] = outcome
            self._hand_out(keys[index], outcome)
        for index, future in waiting.items():
            outcomes[index] = await future
        return [outcomes[index] for index in range(len(requests))]

    def _hand_out(self, key: bytes | None, outcome: Outcome) -> None:
        if key is None:
            return
        self._open.pop(key).set_result(outcome)
        if may_keep(outcome):
            self._kept[key] = outcome
            if len(self._kept) > self._max_kept:
                self._kept.popitem(last=False)

    def _give_up(self, key: bytes | None, error: BaseException) -> None:
        if key is not None:
            future = self._open.pop(key)
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # looked at: nobody may be waiting, which asyncio would complain of
            else:
                future.cancel()


def may_keep(outcome: Outcome) -> bool:
    """Return whether later rows with the same question are to have this outcome too."""
    if isinstance(outcome, ApiAnswer):
        return outcome.status == 200 and len(outcome.body) <= MAX_KEPT_CHARACTERS
    return isinstance(outcome, Answer)


def identify(request: Request) -> bytes | None:
    """Return what requests with the same answer have in common; None where chance decides."""
    params = request.params
    if params.get("temperature", 1.0) != 0 and params.get("seed") is None:
        return None
    prompt = request.prompt
    content = prompt.encode("utf-8", "surrogatepass") if isinstance(prompt, str) else array("q", prompt).tobytes()
    settings = json.dumps(
        [params, request.url if isinstance(request, ApiRequest) else request.weights], sort_keys=True
    ).encode()
    return hashlib.blake2b(settings + b"\0" + content, digest_size=16).digest()

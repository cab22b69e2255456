"""An engine in a Ray actor of its own, so that its end is nobody else's."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.lifecycle import EngineDiedError
from eshop_ray.inference.requests import Reply, Request
from eshop_ray.reporting.words import format_seconds

logger = logging.getLogger(__name__)

ENGINE_START_SECONDS = 1800.0
"""An engine that is not up by then never will be: it stalled, or its CPUs or GPUs are not to be had."""


class EngineActor:
    """Starts, asks and kills one engine actor.

    The actor's class has `ready()`, which returns when it can be asked, `answer(requests)` and `measure_progress()`.
    The first actor is created at once, so that a model loads while the first rows are still being read.
    """

    def __init__(self, actor_class: type, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        self._remote_class = ray.remote(actor_class).options(**options)
        self._arguments = arguments
        self._actor: Any = self._remote_class.remote(*arguments)

    async def start(self) -> None:
        """Wait until the actor is up, a new one if the last was stopped."""
        if self._actor is None:
            self._actor = self._remote_class.remote(*self._arguments)
        try:
            async with asyncio.timeout(ENGINE_START_SECONDS):
                await self._actor.ready.remote()
        except TimeoutError:
            raise EngineDiedError(
                f"not up after {format_seconds(ENGINE_START_SECONDS)}; are its CPUs and GPUs free?"
            ) from None
        except RayError as error:
            raise _translate(error) from error

    async def ask(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """Have the actor answer."""
        if self._actor is None:
            raise EngineDiedError("stopped")
        try:
            replies: Sequence[Reply] = await self._actor.answer.remote(requests)
        except RayError as error:
            raise _translate(error) from error
        return replies

    async def measure_progress(self) -> int | None:
        """Return a number that changes while the engine works; None where it has none."""
        if self._actor is None:
            raise EngineDiedError("stopped")
        try:
            progress: int | None = await self._actor.measure_progress.remote()
        except RayError as error:
            raise _translate(error) from error
        return progress

    async def stop(self) -> None:
        """Kill the actor's process."""
        actor, self._actor = self._actor, None
        if actor is not None:
            await asyncio.to_thread(ray.kill, actor)

    def __del__(self) -> None:
        """Leave no engine behind when the stage ends."""
        if self._actor is not None and ray.is_initialized():
            ray.kill(self._actor)


def _translate(error: RayError) -> Exception:
    """Name the trouble as the engine itself does, else by type alone: its text may quote rows."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return cause if isinstance(cause, UserError | EngineDiedError) else EngineDiedError(type(cause).__name__)

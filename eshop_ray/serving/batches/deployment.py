"""What Ray runs for batches: one keeper for all gateways, and an actor for each batch that is being answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import ray
from ray.serve.handle import DeploymentHandle

from eshop_ray.config import ServeSection
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.serving.batches.answering import Answering, Event, Work
from eshop_ray.serving.batches.files import FileService
from eshop_ray.serving.batches.handles import Refused
from eshop_ray.serving.batches.scheduler import Scheduler
from eshop_ray.serving.batches.service import BatchService
from eshop_ray.serving.batches.store import Store
from eshop_ray.serving.budget_actor import RemoteBudgets
from eshop_ray.serving.deployments import DeployedModel
from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.facts import LatestFacts
from eshop_ray.serving.keys import KeyRing
from eshop_ray.serving.ray_metrics import RayRecorder
from eshop_ray.serving.spending import MeteredModel
from eshop_ray.serving.take_over import take_over


class AnsweringActor:
    """Answers one batch, in a process of its own: its death costs what the model had in hand for it."""

    def __init__(
        self,
        work: Work,
        config: ServeSection,
        tasks: PromptSettings,
        model: DeploymentHandle,
        budgets: DeploymentHandle,
    ) -> None:
        deployed = DeployedModel(model)
        metered = MeteredModel(deployed, RemoteBudgets(budgets), LatestFacts(deployed))
        self._answering = Answering(work, tasks, metered, KeyRing.of(config))

    async def run(self) -> AsyncIterator[Event]:
        """Yield what happens."""
        async for event in self._answering.events():
            yield event

    async def stop(self) -> None:
        """Have it ask nothing more and end once it has the answers that it waits for."""
        await self._answering.stop()


class ActorRun:
    """A batch that an actor answers; it dies with whoever started it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens."""
        try:
            async for event in self._actor.run.options(num_returns="streaming").remote():
                yield await event
        finally:
            ray.kill(self._actor)

    async def stop(self) -> None:
        """Have it ask nothing more and end once it has the answers that it waits for; this does not wait for it."""
        self._actor.stop.remote()


class BatchDeployment:
    """Has the files and batches. There is one at a time: a new one waits until the store is free."""

    async def __init__(  # type: ignore[misc]  # Ray Serve's
        self,
        config: ServeSection,
        tasks: PromptSettings,
        folder: str,
        actor_options: dict[str, Any],
        model: DeploymentHandle,
        budgets: DeploymentHandle,
    ) -> None:
        self._store = Store(Path(folder))
        await asyncio.to_thread(take_over, self._store.open)
        files = FileService(self._store, config.batches)
        self._services = {"files": files, "batches": BatchService(files, config.model_id)}

        def start_run(work: Work) -> ActorRun:
            answering = ray.remote(AnsweringActor).options(**actor_options)
            return ActorRun(answering.remote(work, config, tasks, model, budgets))

        self._scheduler = Scheduler(self._store, files, config, start_run, RayRecorder())
        self._seeing = asyncio.create_task(self._scheduler.run())

    async def call(self, service: Literal["files", "batches"], method: str, *arguments: Any) -> Any:
        """Return what a method of `FileService` or `BatchService` does, or its refusal as `Refused`."""
        try:
            return await getattr(self._services[service], method)(*arguments)
        except RefusalError as error:
            return Refused(error.status, error.message, error.code, error.param, error.retry_after)

    async def pause(self, seconds: float) -> None:
        """Start nothing more, and have what runs end within that time; the next keeper goes on."""
        await self._scheduler.pause(seconds)

    def __del__(self) -> None:
        """Let the next keeper have the store; Ray Serve calls this before it ends a replica."""
        with suppress(Exception):
            self._seeing.cancel()
            self._store.close()

"""Who sees to batches: starts them, stops them, writes down how far they are, and puts their results into files.

All of its decisions are read from the store, so that a scheduler that begins anew goes on where another ended.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from eshop_ray.config import ServeSection
from eshop_ray.serving.batches.answering import Checked, Ended, Event, Measured, Run, Work
from eshop_ray.serving.batches.files import DAY_SECONDS, FileService
from eshop_ray.serving.batches.finishing import finish_batch
from eshop_ray.serving.batches.lines import Rules
from eshop_ray.serving.batches.states import Batch
from eshop_ray.serving.batches.store import Store
from eshop_ray.serving.metrics import Recorder

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5
LOOK_AGAIN_SECONDS = 600.0
"""After which a batch whose key has spent its tokens tries again at the latest: its limit may have changed."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds after trouble, doubled each time."""
GRACE_SECONDS = 30.0
"""Beyond a line's own time, in which a batch that was told to stop has to."""

StartRun = Callable[[Work], Run]


@dataclass(slots=True)
class _Job:
    """What is being done about a batch."""

    owner: str | None
    task: "asyncio.Task[None]"
    run: Run | None = None
    """None: its results are being put into files."""
    stop_by: float | None = None


@dataclass(slots=True)
class _Pause:
    until: float
    num_troubles: int = 0


@dataclass(slots=True)
class Scheduler:
    """One for a store."""

    store: Store
    files: FileService
    config: ServeSection
    start_run: StartRun
    recorder: Recorder
    """Where lines that were asked are counted."""
    clock: Callable[[], float] = time.time
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _pauses: dict[str, _Pause] = field(default_factory=dict)
    _is_ending: bool = False

    async def run(self) -> None:
        """See to batches for ever."""
        while True:
            try:
                await self.tick()
            except Exception as error:  # of a disk, say: it may be well again later
                logger.error("batches cannot be seen to now: %s", type(error).__name__)
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> None:
        """Do what is due."""
        self.files.clean()
        self._clean()
        for batch in sorted(self.store.batches.values(), key=lambda one: (one.created, one.id)):
            if batch.is_open:
                await self._see_to(batch)

    async def pause(self, seconds: float) -> None:
        """Start nothing more, and have what runs end within that time; the next scheduler goes on."""
        self._is_ending = True
        running = list(self._jobs.values())
        for job in running:
            if job.run is not None:
                await job.run.stop()
        if running:
            _, late = await asyncio.wait([job.task for job in running], timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _see_to(self, batch: Batch) -> None:
        now = self.clock()
        job = self._jobs.get(batch.id)
        is_answered = batch.status == "finalizing" or (batch.status == "cancelling" and job is None)
        is_late = batch.expires <= now and batch.status in ("validating", "in_progress")
        if job is not None:
            if job.run is not None and (is_late or batch.status == "cancelling"):
                await self._stop(job, now)
        elif self._is_ending:
            return
        elif batch.model != self.config.model_id and batch.status in ("validating", "in_progress"):
            self.store.put_batch(batch.move("cancelling", now))  # another model is served now, which it did not ask
        elif is_answered or is_late:
            self._jobs[batch.id] = _Job(batch.owner, asyncio.create_task(self._finish(batch)))
        elif self._has_room(batch, now):
            run = self.start_run(self._plan(batch))
            self._jobs[batch.id] = _Job(batch.owner, asyncio.create_task(self._answer(batch, run)), run)

    def _has_room(self, batch: Batch, now: float) -> bool:
        """Return whether a batch may be answered now: those of one key come one after the other."""
        pause = self._pauses.get(batch.id)
        running = [job for job in self._jobs.values() if job.run is not None]
        is_first = all(job.owner != batch.owner for job in running)
        return is_first and len(running) < self.config.batches.max_running and (not pause or pause.until <= now)

    async def _stop(self, job: _Job, now: float) -> None:
        if job.stop_by is None:
            job.stop_by = now + self.config.request_seconds + GRACE_SECONDS
            if job.run is not None:
                await job.run.stop()
        elif job.stop_by <= now:
            job.task.cancel()

    def _plan(self, batch: Batch) -> Work:
        limits = self.config.batches
        return Work(
            source=self.store.find_content(batch.input_file_id),
            folder=self.store.find_workspace(batch.id),
            rules=self._rules_of(batch),
            owner=batch.owner,
            total=batch.counts.total if batch.status == "in_progress" else None,
            num_lines=limits.max_concurrent_requests,
            line_seconds=self.config.request_seconds,
        )

    def _rules_of(self, batch: Batch) -> Rules:
        limits = self.config.batches
        return Rules(
            batch.endpoint, (batch.model, *self.config.adapters), limits.max_requests, self.config.max_body_bytes
        )

    async def _answer(self, batch: Batch, run: Run) -> None:
        """Follow a batch to the end of its run."""
        try:
            async with aclosing(run.events()) as events:  # type: ignore[type-var]
                async for event in events:
                    self._note(batch.id, event)
        except Exception as error:  # whatever became of who answers: another one goes on
            logger.error("a batch is answered no more: %s", type(error).__name__)
            self._note(batch.id, Ended("trouble"))
        finally:
            del self._jobs[batch.id]

    async def _finish(self, batch: Batch) -> None:
        """Put the results of a batch into files."""
        try:
            rules, keep = self._rules_of(batch), self.files.keep_seconds
            finished = await asyncio.to_thread(finish_batch, self.store, batch, rules, self.clock(), keep)
            self.store.put_batch(finished)
            self.store.remove_results(batch.id)
            self._pauses.pop(batch.id, None)
        except Exception as error:
            logger.error("results of a batch cannot be put into files now: %s", type(error).__name__)
            await asyncio.sleep(FIRST_PAUSE)
        finally:
            del self._jobs[batch.id]

    def _note(self, batch_id: str, event: Event) -> None:
        """Write down what happened in a run; a batch that is being cancelled stays so."""
        batch, now = self.store.batches[batch_id], self.clock()
        if isinstance(event, Ended):
            self._note_end(batch, event, now)
        elif isinstance(event, Measured):
            for one in event.counted:
                self.recorder.record(one.metric, one.value, one.labels)
        elif not isinstance(event, Checked):
            if event.completed + event.failed > batch.counts.completed + batch.counts.failed:
                self._pauses.pop(batch_id, None)
            self.store.put_batch(batch.model_copy(update={"counts": event}))
        elif batch.status == "validating":
            counts = batch.counts.model_copy(update={"total": event.total})
            if event.errors:
                self.store.put_batch(batch.move("failed", now, errors=event.errors))
            else:
                self.store.put_batch(batch.move("in_progress", now, counts=counts))

    def _note_end(self, batch: Batch, end: Ended, now: float) -> None:
        if end.reason == "done" and batch.status == "in_progress":
            self.store.put_batch(batch.move("finalizing", now))
        elif end.reason == "revoked" and batch.status in ("validating", "in_progress"):
            self.store.put_batch(batch.move("cancelling", now))
        elif end.reason == "spent":
            self._pauses[batch.id] = _Pause(now + min(end.seconds, LOOK_AGAIN_SECONDS))
        elif end.reason == "trouble":
            num_troubles = self._pauses[batch.id].num_troubles + 1 if batch.id in self._pauses else 1
            seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(num_troubles - 1, 10))
            self._pauses[batch.id] = _Pause(now + seconds, num_troubles)

    def _clean(self) -> None:
        """Remove batches that are long over."""
        oldest = self.clock() - self.config.batches.keep_days * DAY_SECONDS
        for batch in list(self.store.batches.values()):
            if not batch.is_open and max(batch.began.values()) <= oldest:
                self.store.remove_batch(batch.id)

"""A batch from its input to its results: what has none is asked, so many lines at a time.

input --check--> lines --leave out what is done--> requests --dispatch--> answers --> output, errors
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import uuid4

from eshop_ray.data.prompts import PromptSettings
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.dedup import Deduplicator
from eshop_ray.inference.dispatch.dispatcher import Dispatcher
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.openai_api import SERVER_ERROR, write_error
from eshop_ray.inference.openai_batch.requests import digest_custom_id
from eshop_ray.inference.requests import ApiAnswer, Failure, Outcome
from eshop_ray.serving.batches.engine import DeployedEngine
from eshop_ray.serving.batches.lines import Rules, build_line, check_file, find_custom_id, read_line, read_lines
from eshop_ray.serving.batches.results import Results, write_answer
from eshop_ray.serving.batches.states import Counts, LineError
from eshop_ray.serving.errors import RefusalError, render_refusal
from eshop_ray.serving.keys import ApiKey, KeyRing, KeysLostError
from eshop_ray.serving.metrics import Measurement, Tally
from eshop_ray.serving.spending import DeniedError, MeteredModel

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
"""Between two writes of results: what is lost with a kill is asked again."""
PATIENCE_SECONDS = 5.0
"""That lines wait for tokens which other requests of the key have set aside; for longer the batch steps aside."""
PATIENT_RETRIES = 1000
"""Of a line that finds no room: until its batch expires, so to say."""
CONFIRM_SECONDS = 5.0
"""After which a key whose line is gone is looked for once more: a file that is being written lacks lines for a moment,
and a batch that is cancelled stays so."""
MAX_KEPT = 10_000
"""Answers kept for lines that are alike."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be answered."""

    source: Path
    """The input file."""
    folder: Path
    """Where results stand."""
    rules: Rules
    owner: str | None
    """Id of the key; None on an endpoint without keys."""
    total: int | None
    """Requests, once the input was found to be in order."""
    num_lines: int
    """At a time."""
    line_seconds: float
    """In which a line has its answer."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The input was looked through."""

    total: int
    errors: tuple[LineError, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more is asked now."""

    reason: Literal["done", "stopped", "spent", "revoked", "trouble"]
    """`spent`: the tokens of the key; `revoked`: the key holds no more."""
    seconds: float = 0.0
    """After which it is worth going on."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Lines were asked, which whoever follows the batch counts: it outlives who answers."""

    counted: tuple[Measurement, ...]


Event = Checked | Counts | Measured | Ended


class Run(Protocol):
    """A batch that is being answered."""

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens; closed, it ends at once, and what was not answered is lost."""

    async def stop(self) -> None:
        """Have it ask nothing more and end once it has the answers that it waits for."""


class RevokedError(Exception):
    """The key of a batch holds no more."""


class Answering:
    """A batch that is answered in this process."""

    def __init__(self, work: Work, tasks: PromptSettings, metered: MeteredModel, keys: KeyRing) -> None:
        """Put the parts together.

        Args:
            work: What is to be answered.
            tasks: How tasks are asked.
            metered: The model, within budgets.
            keys: By which the batch goes on as long as its own is among them.
        """
        self._work, self._tasks, self._metered, self._keys = work, tasks, metered, keys
        self._limits = Limits(1, work.num_lines, work.line_seconds, PATIENT_RETRIES)
        self._tally = Tally()
        self._engine = DeployedEngine(metered, work.rules.models[0], self._find_key, self._tally)
        self._deduplicator = Deduplicator(Dispatcher([self._engine], self._limits).answer, MAX_KEPT)
        self._end: Ended | None = None
        self._ready: list[dict[str, Any]] = []

    async def stop(self) -> None:
        """Have it ask nothing more and end once it has the answers that the model is working on."""
        self._end = self._end or Ended("stopped")

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens, `Ended` or a failed `Checked` at the end."""
        total = self._work.total
        try:
            if total is None:
                checked = Checked(*await asyncio.to_thread(check_file, self._work.source, self._work.rules))
                yield checked
                if checked.errors:
                    return
                total = checked.total
            with Results(self._work.folder) as results:
                await asyncio.to_thread(results.read)
                yield results.count(total)
                async with aclosing(self._answer_all(results, total)) as progress:  # type: ignore[type-var]
                    async for event in progress:
                        yield event
        except Exception as error:  # its text may quote a line
            logger.error("a batch cannot go on now: %s", type(error).__name__)
            self._end = Ended("trouble")
        finally:
            await self._metered.finish()
        if counted := self._tally.take():
            yield Measured(counted)
        yield self._end or Ended("done")

    async def _answer_all(self, results: Results, total: int) -> AsyncIterator[Counts | Measured]:
        lines = self._read_open(results.done)
        workers = [asyncio.create_task(self._answer_some(lines)) for _ in range(self._work.num_lines)]
        try:
            left, num_idle = set(workers), 0
            while left and num_idle < 2:  # an answer may be on its way at one look, and not at two
                _, left = await asyncio.wait(left, timeout=FLUSH_SECONDS)
                if self._ready:
                    await asyncio.to_thread(results.append, self._take())
                    yield results.count(total)
                if counted := self._tally.take():
                    yield Measured(counted)
                num_idle = num_idle + 1 if self._end is not None and not self._engine.num_asked else 0
        finally:
            for worker in workers:
                worker.cancel()
            ends = await asyncio.gather(*workers, return_exceptions=True)
            results.append(self._take())
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def _take(self) -> list[dict[str, Any]]:
        taken, self._ready = self._ready, []
        return taken

    def _read_open(self, done: set[bytes]) -> Iterator[tuple[str, dict[str, Any] | RefusalError]]:
        """Yield `custom_id` and body of lines without a result, as long as lines may be asked.

        In place of a body why there is none: the file was in order by the config of the time when it was checked.
        """
        for _, line in read_lines(self._work.source, self._work.rules.max_line_bytes):
            if self._end is not None:
                return
            custom_id: str | None
            content: dict[str, Any] | RefusalError
            try:
                custom_id, content = read_line(line, self._work.rules)
            except RefusalError as error:
                custom_id, content = find_custom_id(line), error
            if custom_id is not None and digest_custom_id(custom_id) not in done:
                yield custom_id, content

    async def _answer_some(self, lines: Iterator[tuple[str, dict[str, Any] | RefusalError]]) -> None:
        for custom_id, content in lines:
            answer = refuse_line(content) if isinstance(content, RefusalError) else await self._answer(content)
            if answer is not None:
                self._ready.append(write_answer(custom_id, answer.status, answer.body))

    async def _answer(self, body: dict[str, Any]) -> ApiAnswer | None:
        """Return what a line gets; None if it is left for another time."""
        try:
            request = build_line(body, self._work.rules, self._tasks, uuid4().hex)
        except RefusalError as error:
            return refuse_line(error)
        while self._end is None:
            try:
                (outcome,) = await self._deduplicator.answer([request])
                return _settle(outcome)
            except DeniedError as denied:
                await self._wait(denied.denial.retry_after)
            except (RevokedError, KeysLostError):
                await self._look_again()
            except UserError:  # of the engine, not of this line
                raise
            except Exception as error:  # its text may quote the line
                logger.error("a line of a batch fails: %s", type(error).__name__)
                return write_error(SERVER_ERROR, "trouble of the endpoint's own")
        return None

    async def _wait(self, seconds: float) -> None:
        if seconds <= PATIENCE_SECONDS:
            await asyncio.sleep(seconds)
        else:
            self._end = self._end or Ended("spent", seconds)

    async def _look_again(self) -> None:
        """End the batch if its key is still not there."""
        await asyncio.sleep(CONFIRM_SECONDS)
        try:
            self._find_key()
        except RevokedError:
            self._end = self._end or Ended("revoked")
        except KeysLostError:
            self._end = self._end or Ended("trouble")

    def _find_key(self) -> ApiKey | None:
        """Return whose batch it is, as the key holds now: a line is none of the requests that it may send in a minute.

        Raises:
            RevokedError: if it holds no more.
            KeysLostError: if that cannot be told.
        """
        if self._work.owner is None:
            return None
        key = self._keys.get(self._work.owner)
        if key is None:
            raise RevokedError
        return key.model_copy(update={"requests_per_minute": None})


def refuse_line(error: RefusalError) -> ApiAnswer:
    """Return what a line gets that is not asked."""
    return ApiAnswer(error.status, render_refusal(error).body.decode())


def _settle(outcome: Outcome) -> ApiAnswer:
    if isinstance(outcome, ApiAnswer):
        return outcome
    assert isinstance(outcome, Failure)
    return write_error(SERVER_ERROR, outcome.message, code=outcome.reason)

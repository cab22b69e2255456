"""Which of several engines is asked what: whoever has room takes the call that suits it best.

block --sort, cut--> calls that wait --take--> an engine's supervisor --> outcomes, in the block's order

Nothing is assigned ahead: an engine that is slow, restarts or is not up yet takes less, and nobody waits for it.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.batching import MAX_KEPT, Call, RecentHashes, build_calls
from eshop_ray.inference.dispatch.circuit_breaker import EngineBrokenError
from eshop_ray.inference.dispatch.lifecycle import DidNotStartError, SupervisedEngine
from eshop_ray.inference.dispatch.supervisor import Limits, Supervisor
from eshop_ray.inference.requests import Outcome, Request

logger = logging.getLogger(__name__)


class _Member:
    """One engine of the group, and what the dispatcher knows of it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.in_hand: set[Call] = set()
        self.met = RecentHashes()
        """What prompts have begun with that it was asked; after a restart, nothing."""
        self.knows: Counter[Call] = Counter()
        """Of each call that waits, how many prefix_hashes it has met."""
        self.is_opening = False
        self.was_up = False

    @property
    def work(self) -> int:
        """Tokens in hand."""
        return sum(call.work for call in self.in_hand)


class Dispatcher:
    """Asks a group of engines on behalf of all blocks of a stage."""

    def __init__(
        self,
        engines: Sequence[SupervisedEngine],
        limits: Limits,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.up_since: float | None = None
        """When the first engine took calls, by the monotonic clock."""
        self._limits = limits
        self._members = [_Member(Supervisor(engine, limits, sleep)) for engine in engines]
        self._met = RecentHashes(MAX_KEPT * len(engines))
        self._waiting: list[Call] = []
        self._trouble: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, requests: Sequence[Request]) -> list[Outcome]:
        """Return one outcome per request, in order. Several blocks may be answered at the same time.

        Raises:
            UserError: if no engine starts.
        """
        calls = build_calls(requests, self._limits.batch_size, self._met)
        for call in calls:
            self._queue(call, len(self._waiting))
        self._hand_out()
        outcomes: dict[int, Outcome] = {}
        for call, settled in zip(calls, await asyncio.gather(*(call.done for call in calls)), strict=True):
            outcomes.update(zip(call.places, settled, strict=True))
        return [outcomes[index] for index in range(len(requests))]

    def _queue(self, call: Call, place: int) -> None:
        if self._trouble:
            call.fail(self._trouble)
            return
        self._waiting.insert(place, call)
        for member in self._members:
            member.knows[call] = member.met.count(call.prefix_hashes)

    def _hand_out(self) -> None:
        """Give out what there is room for; who has the least in hand chooses first."""
        is_moving = True
        while self._waiting and is_moving:
            for member in self._members:
                if not member.supervisor.is_open and not member.is_opening:
                    member.is_opening = True
                    self._start(self._open(member))
            takers = [one for one in self._members if one.supervisor.is_open]
            takers = [one for one in takers if len(one.in_hand) < self._limits.num_calls]
            is_moving = any(self._take(member) for member in sorted(takers, key=lambda one: one.work))

    def _take(self, member: _Member) -> bool:
        """Have an engine take a call, and return whether it has."""
        call = self._choose(member)
        if call is None:
            return False
        self._waiting.remove(call)
        member.in_hand.add(call)
        new = {prefix_hash for prefix_hash in call.prefix_hashes if member.met.add(prefix_hash)}
        for other in self._waiting:
            member.knows[other] += len(new & other.prefix_hashes)
        for one in self._members:
            del one.knows[call]
        self._start(self._ask(member, call))
        return True

    def _choose(self, member: _Member) -> Call | None:
        """Return the call whose beginnings an engine knows best, compared with others that are up; else the longest.

        What another one knows better it leaves alone while it has enough in hand. Alone, it takes calls as they come.
        """
        rivals = [one for one in self._members if one is not member and one.supervisor.is_open]
        if not rivals:
            return self._waiting[0]

        def rate(call: Call) -> tuple[int, int]:
            return member.knows[call] - max(one.knows[call] for one in rivals), call.work

        call = max(self._waiting, key=rate)
        has_enough = 2 * len(member.in_hand) > self._limits.num_calls
        return None if has_enough and rate(call)[0] < 0 else call

    async def _ask(self, member: _Member, call: Call) -> None:
        try:
            outcomes = await member.supervisor.answer(call.requests)
        except UserError as error:  # it died, and is not coming back
            self._queue(call, 0)
            self._lose(member, error)
        except Exception as error:
            call.fail(error)
        else:
            call.succeed(outcomes)
        finally:
            member.in_hand.discard(call)
        self._hand_out()

    async def _open(self, member: _Member) -> None:
        """Wait until an engine takes calls. That it did not means that it is new: it knows nothing."""
        try:
            await member.supervisor.open()
        except UserError as error:
            self._lose(member, error)
        except Exception as error:
            self._give_up(error)
        else:
            member.was_up = True
            self.up_since = self.up_since or time.monotonic()
            member.met.clear()
            member.knows.clear()
        finally:
            member.is_opening = False
        self._hand_out()

    def _lose(self, member: _Member, error: UserError) -> None:
        """Go on without an engine, unless it was the last, or refuses settings that are everyone's."""
        if member not in self._members:
            return
        self._members.remove(member)
        if self._members and (
            isinstance(error, DidNotStartError | EngineBrokenError) or any(one.was_up for one in self._members)
        ):
            logger.warning("an engine is given up, %d go on: %s", len(self._members), error)
        else:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._trouble = error
        for call in self._waiting:
            call.fail(error)
        self._waiting.clear()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps no hold of it
        task.add_done_callback(self._tasks.discard)

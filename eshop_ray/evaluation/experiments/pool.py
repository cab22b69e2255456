"""Ray actors that work through one queue of trials; one that dies is replaced, and its trial is tried again."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

MAX_WORKER_DEATHS = 3
"""Actors that may die with the same trial before it is to blame; a node that is lost could be chance."""


class Named(Protocol):
    """What a trial has."""

    @property
    def name(self) -> str:
        """For messages."""


Trial = TypeVar("Trial", bound=Named)


def run_trials(build_actor: Callable[[], Any], trials: Sequence[Trial], num_workers: int) -> Iterator[Any]:
    """Yield the result of each trial, in the order in which they are done.

    Args:
        build_actor: Starts an actor with a method `run(trial)`.
        trials: What to run; an actor gets the next one when it is done with one.
        num_workers: Actors at most.

    Raises:
        UserError: naming a trial that fails, or with which an actor died several times.
    """
    queue, num_deaths = deque(trials), Counter[str]()
    running: dict[Any, tuple[Any, Trial]] = {}

    def send(actor: Any) -> None:
        trial = queue.popleft()
        running[actor.run.remote(trial)] = actor, trial

    try:
        for _ in range(min(num_workers, len(queue))):
            send(build_actor())
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            actor, trial = running.pop(done)
            results = []
            try:
                results.append(ray.get(done))
            except RayTaskError as error:
                ray.kill(actor)
                raise _explain_failure(trial, error) from error
            except RayError as death:
                num_deaths[trial.name] += 1
                _check_deaths(trial, num_deaths[trial.name], death)
                ray.kill(actor)
                queue.appendleft(trial)
                actor = build_actor()
            if queue:
                send(actor)
            else:
                ray.kill(actor)
            yield from results
    finally:
        for actor, _ in running.values():
            ray.kill(actor)


def _check_deaths(trial: Named, num_deaths: int, death: RayError) -> None:
    reason = type(death).__name__
    if num_deaths >= MAX_WORKER_DEATHS:
        raise UserError(
            f"{trial.name}: the worker died {num_deaths} times while measuring it ({reason}), most likely for want of "
            "memory; lower `search.num_workers` or `train.pack_length`, and run the same command again"
        ) from death
    logger.warning("%s: the worker died (%s); trying again", trial.name, reason)


def _explain_failure(trial: Named, error: RayTaskError) -> UserError:
    cause = error.cause
    if isinstance(cause, UserError):
        return UserError(f"{trial.name}: {cause}")
    return UserError(
        f"{trial.name} could not be measured ({type(cause).__name__}: {str(cause)[:300]}); "
        "leave its method out of `search.methods`, or look at the adapters"
    )

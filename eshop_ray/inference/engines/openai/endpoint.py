"""The endpoint of a config: whether it can be asked at all, its identity, and the account of a run."""

import functools
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from pydantic import SecretStr

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import Config, InferSection, OpenaiSection
from eshop_ray.errors import BudgetSpentError, UserError
from eshop_ray.inference.dispatch.blocks import PromptForm
from eshop_ray.inference.dispatch.stage import StageEngine
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.engine import Engine
from eshop_ray.inference.engines.openai.chat_request import LIMIT_FIELDS, write_messages
from eshop_ray.inference.engines.openai.engine import OpenaiEngine
from eshop_ray.inference.engines.openai.ledger import Ledger
from eshop_ray.inference.engines.openai.meter import Account, Meter, describe
from eshop_ray.inference.reading import Reader

logger = logging.getLogger(__name__)

DECIDING = frozenset({"base_url", "model", "constrained_decoding", "extra_body", "max_model_len"})
"""Settings of `openai` that answers depend on."""
NOT_DECIDING = frozenset(
    {
        *("api_key_env", "max_concurrent_requests", "requests_per_minute", "tokens_per_minute", "timeout_seconds"),
        *("input_price", "cached_input_price", "output_price", "max_cost"),
    }
)
"""Settings that change how fast, by whose key and for how much answers are had."""

METER = "eshop-meter"
MAX_WAITING = 100_000
"""Requests that may wait at the meter: it must always hear of one that ended."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that is ready to be asked."""

    config: OpenaiSection
    key: SecretStr | None
    meter: str
    """Name of the run's `Meter`, an actor."""

    def read_account(self) -> Account:
        """Return what was spent so far."""
        account: Account = ray.get(ray.get_actor(self.meter).close.remote())
        return account

    def check_ended(self) -> None:
        """End a job whose endpoint had to be left before all was answered; what was is kept.

        Raises:
            BudgetSpentError: at `openai.max_cost`.
            UserError: for any other reason.
        """
        account = self.read_account()
        if account.is_budget_spent:
            raise BudgetSpentError(f"{account.end}; what was answered is kept, a higher limit goes on from there")
        if account.end:
            raise UserError(f"{account.end}; what was answered is kept, the same command goes on from there")


def digest_endpoint(config: OpenaiSection) -> str:
    """Return what stands for the digest of the model: who answers, and how it is asked.

    What stands behind a name at an address may change; nobody tells.
    """
    return fingerprint(["openai", config.model_dump(mode="json", include=set(DECIDING))])


def check_endpoint(config: Config) -> None:
    """See, before anything starts, that the endpoint can be asked.

    Raises:
        UserError: naming the key of the config that is missing or makes no sense.
    """
    own = config.openai
    if own.base_url is None or own.model is None:
        missing = "base_url" if own.base_url is None else "model"
        raise UserError(f"infer.engine=openai needs `openai.{missing}`")
    if config.infer.engine_kwargs:
        raise UserError("infer.engine_kwargs means nothing to the engine `openai`; set `openai.extra_body` instead")
    if own.max_cost is not None and (own.input_price is None or own.output_price is None):
        missing = "input_price" if own.input_price is None else "output_price"
        raise UserError(f"`openai.max_cost` needs `openai.{missing}`, the price of a million tokens")
    if own.max_cost is not None and _is_unlimited(own):
        raise UserError(
            f"`openai.max_cost`: `openai.extra_body` takes the limit of an answer's tokens away; set one of "
            f"{', '.join(f'`{name}`' for name in LIMIT_FIELDS)} there"
        )
    read_key(own)


def read_key(config: OpenaiSection) -> SecretStr | None:
    """Return the key.

    Raises:
        UserError: if the variable that is to hold it does not.
    """
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        wrong = "holds what cannot be a key" if key else "is not set"
        raise UserError(f"`openai.api_key_env`: the environment variable {config.api_key_env} {wrong}; export it")
    return SecretStr(key)


@contextmanager
def open_endpoint(config: Config, predictions_dir: Path | None, inputs: str, has_answered: bool) -> Iterator[Endpoint]:
    """Yield the endpoint of a config, and write down at the end what was spent.

    Args:
        config: Of the run; Ray has to run.
        predictions_dir: What is answered stands there: an earlier run's spending for it counts too. None: none does.
        inputs: Digest of all that determines the answers.
        has_answered: Whether it answered such requests before: one that refuses the first of all ends the job.

    Raises:
        UserError: as `check_endpoint`.
    """
    check_endpoint(config)
    if config.infer.constrained and config.openai.constrained_decoding is None:
        logger.info("answers are free text: `openai.constrained_decoding` is not set")
    name = f"{METER}-{uuid.uuid4().hex}"  # a handle among an actor's arguments would keep it from being restarted
    actor = ray.remote(Meter).options(name=name, num_cpus=0, max_concurrency=MAX_WAITING)
    meter = actor.remote(config.openai, Ledger(predictions_dir, inputs), has_answered)
    endpoint = Endpoint(config.openai, read_key(config.openai), name)
    try:
        yield endpoint
    except UserError:
        if endpoint.read_account().is_budget_spent:  # a worker's error has no exit status of its own
            endpoint.check_ended()
        raise
    finally:
        spent = describe(endpoint.read_account())
        logger.info("asked %s: %s", config.openai.base_url, ", ".join(f"{name} {n:,}" for name, n in spent.items()))
        ray.kill(meter)


def build_openai(config: InferSection, endpoint: Endpoint, reader: Reader | None = None) -> Engine:
    """Return an engine that asks the endpoint, in `infer.concurrency` groups of requests."""
    limits = Limits(1, endpoint.config.max_concurrent_requests, config.timeout_seconds, config.max_retries)
    find_meter = functools.partial(ray.get_actor, endpoint.meter)
    build = functools.partial(OpenaiEngine, endpoint.config, endpoint.key, find_meter)
    return StageEngine(build, limits, config.concurrency, PromptForm(write_messages), reader)


def _is_unlimited(config: OpenaiSection) -> bool:
    stated = config.extra_body
    return "max_tokens" in stated and not any(isinstance(stated.get(name), int) for name in LIMIT_FIELDS)

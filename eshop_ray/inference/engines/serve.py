"""The shared Ray Serve deployment of the model as an engine: warm across tasks and runs, scaled by Ray Serve."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.exceptions import RayError, RayTaskError

from eshop_ray.artifacts import AnyFolder
from eshop_ray.config import InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.api_form import ApiForm
from eshop_ray.inference.dispatch.blocks import PromptForm
from eshop_ray.inference.dispatch.lifecycle import EngineDiedError
from eshop_ray.inference.dispatch.stage import StageEngine, run_stage
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.engine import Engine
from eshop_ray.inference.engines.serve_app import DEPLOYMENT_PREFIX
from eshop_ray.inference.engines.vllm import write_ids
from eshop_ray.inference.engines.vllm_arguments import ANSWER_DEFAULTS
from eshop_ray.inference.engines.vllm_server import list_ignored, read_response, read_trouble
from eshop_ray.inference.openai_api import CHAT_URL, COMPLETIONS_URL, refuse_stream, refuse_url, rename_constraints
from eshop_ray.inference.reading import Reader
from eshop_ray.inference.requests import (
    Answer,
    ApiRequest,
    Busy,
    Failure,
    Prompt,
    Reply,
    Request,
    find_too_long,
    mean_probability,
)
from eshop_ray.reporting.words import format_seconds

CALLS_PER_REPLICA = 4
"""Calls in flight for each of `infer.concurrency`, which stands for the replicas to keep busy."""

REPLICA_START_SECONDS = 600.0
"""A deployment that tells nothing about itself for so long is in trouble."""

NEUTRAL_PARAMS = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""What a deployment would else take from the model's own recommendations; answers are to be those of `vllm`."""


class ServeEngine:
    """Asks the deployment that serves `model_dir`, through its handle; Ray Serve restarts what dies in it."""

    def __init__(self, model_dir: AnyFolder) -> None:
        self._model_dir = model_dir
        self._handle: Any = None
        self._model_id = ""
        self._context: int | None = None

    async def start(self) -> None:
        """Find the deployment, and ask it for its model's name and context.

        Raises:
            EngineDiedError: if no replica answers.
            UserError: if no application serves the model.
        """
        try:
            async with asyncio.timeout(REPLICA_START_SECONDS):
                await self._find()
        except TimeoutError:
            raise EngineDiedError(
                f"no replica answers within {format_seconds(REPLICA_START_SECONDS)}; see `serve status`"
            ) from None
        except RayError as error:
            raise EngineDiedError(type(error).__name__) from error

    async def ask(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """Ask for each row by itself: the deployment batches what arrives, whoever asks.

        Every row is waited for, also when one is lost: what is asked next should find none of them inside.
        """
        replies = await asyncio.gather(*map(self._ask, requests), return_exceptions=True)
        return [raise_or_return(reply) for reply in replies]

    async def measure_progress(self) -> int | None:
        """Return None: replicas come and go."""
        return None

    async def stop(self) -> None:
        """Leave the deployment alone: it serves others too, and heals itself."""

    async def _find(self) -> None:
        from ray import serve

        from eshop_ray.inference.engines.serve_model import name_source

        status = await asyncio.to_thread(serve.status)
        served = []
        for app, overview in status.applications.items():
            for name in overview.deployments:
                if name.startswith(DEPLOYMENT_PREFIX):
                    handle = serve.get_deployment_handle(name, app)
                    config = await handle.llm_config.remote()
                    served.append(str(config.model_loading_config.model_source))
                    if served[-1] == name_source(self._model_dir):
                        self._handle = handle.options(stream=True)
                        self._model_id = config.model_id
                        self._context = read_context(config.engine_kwargs.get("max_model_len"))
                        return
        raise UserError(
            f"no Ray Serve application serves {self._model_dir} (served here: {', '.join(served) or 'nothing'}); "
            "start it with `eshop serve`, on the same cluster"
        )

    async def _ask(self, request: Request) -> Reply:
        if isinstance(request, ApiRequest):
            return await self._ask_api(request)
        return await self._ask_prompt(request)

    async def _ask_api(self, request: ApiRequest) -> Reply:
        from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest

        endpoints = {CHAT_URL: ("chat", ChatCompletionRequest), COMPLETIONS_URL: ("completions", CompletionRequest)}
        if request.url not in endpoints:
            return refuse_url(request.url, endpoints)
        method, body_type = endpoints[request.url]
        body = request.read_body()
        try:
            parsed = body_type(**{**rename_constraints(body), "model": self._model_id})
        except Exception as error:
            return read_trouble(error, body)
        if parsed.stream:
            return refuse_stream()
        try:
            response = await anext(getattr(self._handle, method).remote(parsed))
        except Exception as error:
            return judge_error(error)
        return judge_overload(response) or read_response(response, body, list_ignored(parsed))

    async def _ask_prompt(self, request: Request) -> Reply:
        if self._context and (too_long := find_too_long(len(request.prompt), request.params, self._context)):
            return too_long
        try:
            body = build_completion(self._model_id, request.prompt, request.params)
        except ValueError as error:  # its text quotes the row
            return Failure("engine", f"no completion request: {type(error).__name__}")
        try:
            return read_completion(await anext(self._handle.completions.remote(body)))
        except Exception as error:  # of Ray Serve, of Ray, or of vLLM in the replica
            return judge_error(error)


def build_serve(config: InferSection, model_dir: AnyFolder, reader: Reader | None = None) -> Engine:
    """Return an engine that asks the deployment; it has to be there, the job sees to that.

    One supervisor asks for all replicas: a row is alone in the deployment only if nobody else asks.

    Raises:
        UserError: if arguments for an engine are given here, where none is started.
    """
    build, limits = _plan(config, model_dir)
    form = PromptForm(functools.partial(write_ids, model_dir))
    return StageEngine(build, limits, 1, form, reader)


def build_serve_api(config: InferSection, model_dir: AnyFolder) -> Engine:
    """Return an engine that passes requests to OpenAI's API on to the deployment.

    Raises:
        UserError: if arguments for an engine are given here.
    """
    build, limits = _plan(config, model_dir)
    return lambda requests: run_stage(requests, build, limits, 1, ApiForm())


def _plan(config: InferSection, model_dir: AnyFolder) -> tuple[Callable[[], ServeEngine], Limits]:
    if config.engine_kwargs:
        raise UserError("infer.engine_kwargs means nothing to the engine `serve`; set `serve.engine_kwargs` instead")
    return functools.partial(ServeEngine, model_dir), Limits.of(config, CALLS_PER_REPLICA * config.concurrency)


def build_completion(model_id: str, prompt: Prompt, params: Mapping[str, Any]) -> Any:
    """Return a completion request that a deployment answers as an engine of its own would.

    Args:
        model_id: The deployment's model.
        prompt: Token ids.
        params: Sampling parameters.

    Raises:
        ValueError: if it is none; its text quotes the prompt.
    """
    from ray.serve.llm.openai_api_models import CompletionRequest

    return CompletionRequest(model=model_id, prompt=prompt, **{**NEUTRAL_PARAMS, **params})


def read_context(stated: int | None) -> int:
    """Return the tokens that a row may have: an endpoint with room for more gives bulk jobs no other answers."""
    return stated if stated is not None and stated > 0 else int(ANSWER_DEFAULTS["max_model_len"])


def raise_or_return(reply: Reply | BaseException) -> Reply:
    """Return the reply, or raise what came in its place."""
    if isinstance(reply, BaseException):
        raise reply
    return reply


def judge_overload(response: Any) -> Busy | None:
    """Return what a response means that says no more than that a replica has no room, or is in trouble."""
    error = getattr(response, "error", None)
    if error is not None and (int(error.code) == 429 or int(error.code) >= 500):
        return Busy(f"HTTP {int(error.code)}")
    return None


def read_completion(response: Any) -> Reply:
    """Return the answer in a completion response, or what an error response means for its row."""
    if busy := judge_overload(response):
        return busy
    if getattr(response, "error", None) is not None:
        return Failure("engine", f"refused by the deployment: HTTP {int(response.error.code)}")
    choice = response.choices[0]
    if choice.finish_reason not in ("stop", "length"):
        return Failure("engine", f"the deployment ended with `{choice.finish_reason}`")
    usage = response.usage
    scored = getattr(choice, "logprobs", None)
    confidence = mean_probability(scored.token_logprobs) if scored else None
    return Answer(choice.text, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens, confidence)


def judge_error(error: Exception) -> Reply:
    """Return what an error of a handle means for its row.

    Raises:
        EngineDiedError: if the replica is gone, and with it the other rows that were in it.
    """
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, BackPressureError | DeploymentUnavailableError | RequestCancelledError):
        return Busy(type(cause).__name__)
    if isinstance(cause, ValueError | TypeError):
        return Failure("engine", f"refused by the deployment: {type(cause).__name__}")
    raise EngineDiedError(type(cause).__name__) from error

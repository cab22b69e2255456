"""vLLM's own server of OpenAI's API, without HTTP, before an engine in this very process.

What a request may ask for, what that means and what is wrong with it is vLLM's to say: a batch is answered as its
server answers.
"""

import functools
import importlib
import json
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import fields
from typing import Any

from eshop_ray.inference.engines.vllm_output import NO_ANSWER, is_impossible
from eshop_ray.inference.openai_api import (
    CHAT_URL,
    COMPLETIONS_URL,
    quotes,
    refuse_stream,
    refuse_url,
    rename_constraints,
    write_error,
)
from eshop_ray.inference.requests import ApiAnswer, ApiRequest

Ask = Callable[[Callable[[Any, str], None]], Awaitable[Any]]
"""Has a function add a request to the engine, under the name that it is given, and returns the finished output."""

Call = Callable[[Callable[[Any], Any]], Awaitable[Any]]
"""Returns what a function makes of the engine. No other code may touch the engine: it has a thread of its own."""

WITHOUT_EFFECT = frozenset(
    {"metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
"""Fields of OpenAI's API that only its own servers have a use for, and no answer depends on."""

MAX_REASON_CHARACTERS = 500
"""Of a reason; some of vLLM's recite a whole grammar."""


def split_arguments(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the engine's arguments, and those that only vLLM's server has: chat template, parsers of tools."""
    from vllm.engine.arg_utils import EngineArgs

    of_engine = {field.name for field in fields(EngineArgs)}
    of_server = set(server_defaults()) - of_engine
    engine = {name: value for name, value in arguments.items() if name not in of_server}
    return engine, {name: value for name, value in arguments.items() if name in of_server}


def server_defaults() -> dict[str, Any]:
    """Return what vLLM's server assumes where nobody says otherwise."""
    from vllm.entrypoints.launchers.cli_args import BaseFrontendArgs

    defaults: dict[str, Any] = vars(BaseFrontendArgs())
    return defaults


class EngineClient:
    """As much of vLLM's interface of the same name as its server uses."""

    errored = False
    dead_error = None

    def __init__(self, engine: Any, ask: Ask, call: Call) -> None:
        self.vllm_config = engine.vllm_config
        self.model_config = engine.model_config
        self.renderer = engine.renderer
        self.input_processor = engine.input_processor
        self._ask, self._call = ask, call

    def check_admission(self, *_: Any, **__: Any) -> None:
        """Let everything in: what is in flight is bounded where it is handed out."""

    async def is_tracing_enabled(self) -> bool:
        """Return whether requests are traced."""
        return False

    async def add_lora(self, adapter: Any) -> Any:
        """Have the engine load an adapter."""
        return await self._call(lambda engine: engine.add_lora(adapter))

    async def generate(self, prompt: Any, sampling_params: Any, *_: Any, **options: Any) -> AsyncIterator[Any]:
        """Yield the finished output.

        Raises:
            VLLMValidationError: if no answer fits its constraint; what the engine refuses a request with.
        """
        add = functools.partial(add_request, prompt=prompt, params=sampling_params, options=options)
        output = await self._ask(add)
        constraint = sampling_params.structured_outputs
        if constraint and all(is_impossible(completion, vars(constraint)) for completion in output.outputs):
            from vllm.exceptions import VLLMValidationError

            raise VLLMValidationError(NO_ANSWER, parameter="structured_outputs")
        yield output

    async def encode(self, prompt: Any, pooling_params: Any, *_: Any, **options: Any) -> AsyncIterator[Any]:
        """Yield what a pooling model makes of the prompt."""
        yield await self._ask(functools.partial(add_request, prompt=prompt, params=pooling_params, options=options))


def add_request(engine: Any, name: str, prompt: Any, params: Any, options: Mapping[str, Any]) -> None:
    """Have an engine take in what vLLM's server asks of it.

    The synchronous engine lacks two of the options; it takes requests that have them already.
    """
    known = {option: options[option] for option in ("lora_request", "priority", "session_id") if option in options}
    of_reasoning = {
        option: options[option]
        for option in ("reasoning_ended", "reasoning_parser_kwargs")
        if options.get(option) is not None
    }
    if of_reasoning:
        from vllm.renderers.inputs.preprocess import extract_prompt_components

        known_text = extract_prompt_components(engine.model_config, prompt).text
        prompt = engine.input_processor.process_inputs(
            name, prompt, params, supported_tasks=engine.get_supported_tasks(), **known
        )
        for option, value in of_reasoning.items():
            setattr(prompt, option, value)
        known["prompt_text"] = known_text
    engine.add_request(name, prompt, params, **known)


class Endpoint:
    """One address of the API."""

    def __init__(self, handler: str, request_type: str) -> None:
        """Name what is behind it.

        Args:
            handler: In the server's state; a method of it, or itself.
            request_type: Module and name of the body's type.
        """
        self._handler, self._type = handler, request_type

    def find_handler(self, state: Any) -> Any:
        """Return what answers, or None if the model has none."""
        name, _, method = self._handler.partition(".")
        server = getattr(state, name, None)
        return getattr(server, method) if server is not None and method else server

    def read_body(self, body: Mapping[str, Any]) -> Any:
        """Return the body as vLLM reads it.

        Raises:
            ValidationError: of pydantic.
        """
        from pydantic import TypeAdapter

        module, _, name = self._type.rpartition(".")
        return TypeAdapter(getattr(importlib.import_module(module), name)).validate_python(body)


ENDPOINTS = {
    CHAT_URL: Endpoint(
        "openai_serving_chat.create_chat_completion",
        "vllm.entrypoints.openai.chat_completion.protocol.ChatCompletionRequest",
    ),
    COMPLETIONS_URL: Endpoint(
        "openai_serving_completion.create_completion",
        "vllm.entrypoints.openai.completion.protocol.CompletionRequest",
    ),
    "/v1/embeddings": Endpoint("serving_embedding", "vllm.entrypoints.pooling.embed.protocol.EmbeddingRequest"),
    "/v1/score": Endpoint("serving_scores", "vllm.entrypoints.pooling.scoring.protocol.ScoreRequest"),
    "/v1/rerank": Endpoint("serving_scores", "vllm.entrypoints.pooling.scoring.protocol.RerankRequest"),
}
"""Address -> what answers there."""

VERSIONS = ("/score", "/rerank")
"""Ends of addresses whose beginning, with versions of other people's APIs, does not matter."""


class ApiServer:
    """Answers requests to OpenAI's API."""

    def __init__(self, state: Any) -> None:
        self._state = state

    @classmethod
    async def build(cls, engine: Any, arguments: Mapping[str, Any], ask: Ask, call: Call) -> "ApiServer":
        """Return the server.

        Args:
            engine: vLLM's engine.
            arguments: All of vLLM's arguments, the server's among them.
            ask: Asks the engine.
            call: Has the engine do something else.
        """
        from starlette.datastructures import State
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state

        state = State()
        client = EngineClient(engine, ask, call)
        await init_app_state(client, state, build_namespace(engine, arguments), engine.get_supported_tasks())
        return cls(state)

    async def answer(self, request: ApiRequest) -> ApiAnswer:
        """Return what the server says."""
        body = request.read_body()
        try:
            return await self._answer(request.url, body)
        except Exception as error:  # whatever a request does to the server, the others go on
            return read_trouble(error, body)

    async def _answer(self, url: str, body: dict[str, Any]) -> ApiAnswer:
        endpoint = ENDPOINTS.get(url) or ENDPOINTS.get(
            f"/v1/{url.rpartition('/')[2]}" if url.endswith(VERSIONS) else ""
        )
        if endpoint is None:
            return refuse_url(url, ENDPOINTS)
        handler = endpoint.find_handler(self._state)
        if handler is None:
            return write_error(400, f"{url}: this model has no answers to it", "url", "invalid_url")
        request = endpoint.read_body(rename_constraints(body))
        if getattr(request, "stream", None):
            return refuse_stream()
        response = await handler(request)
        return read_response(response, body, list_ignored(request))


def build_namespace(engine: Any, arguments: Mapping[str, Any]) -> Namespace:
    """Return vLLM's arguments as its server reads them from a command line."""
    _, of_server = split_arguments(arguments)
    adapters = [read_adapter(stated) for stated in of_server.get("lora_modules") or []]
    names = arguments.get("served_model_name") or [arguments["model"]]
    of_engine = {
        "model": arguments["model"],
        "served_model_name": [names] if isinstance(names, str) else list(names),
        "structured_outputs_config": engine.vllm_config.structured_outputs_config,
        "enable_log_requests": False,
        "disable_log_stats": True,
    }
    return Namespace(**{**server_defaults(), **of_server, **of_engine, "lora_modules": adapters or None})


def read_adapter(stated: Any) -> Any:
    """Return an adapter that the server offers as a model, from `NAME=PATH` or its fields."""
    from vllm.entrypoints.openai.models.protocol import LoRAModulePath

    if isinstance(stated, str):
        name, _, path = stated.partition("=")
        stated = {"name": name, "path": path}
    return LoRAModulePath(**stated)


def list_ignored(request: Any) -> tuple[str, ...]:
    """Return the fields of a request that mean nothing to vLLM, and might have been meant to; null and 0 do not."""
    extra = request.model_extra or {}
    return tuple(name for name, value in extra.items() if value and name not in WITHOUT_EFFECT)


def read_response(response: Any, body: Mapping[str, Any], ignored: tuple[str, ...]) -> ApiAnswer:
    """Return the answer in a response of vLLM's."""
    from starlette.responses import JSONResponse
    from vllm.entrypoints.serve.engine.protocol import ErrorResponse

    if isinstance(response, ErrorResponse):
        return explain(response.error, body)
    if isinstance(response, JSONResponse):
        text = bytes(response.body).decode()
        usage = json.loads(text).get("usage") or {}
    else:
        text = response.model_dump_json()
        usage = vars(response.usage)
    return ApiAnswer(200, text, usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0, ignored)


def read_trouble(error: Exception, body: Mapping[str, Any]) -> ApiAnswer:
    """Return what an exception says to the request that met it."""
    from pydantic import ValidationError
    from vllm.entrypoints.serve import create_error_response

    if isinstance(error, ValidationError):
        field, reason, code = read_validation(error, "messages" if "messages" in body else "body")
        return refuse(400, f"{field}: {reason}", field, code, body)
    return explain(create_error_response(error).error, body)


def read_validation(error: Any, whole: str) -> tuple[str, str, str]:
    """Return what pydantic finds wrong in a body: the field, a reason without values, and a code.

    Names of vLLM's own types, which stand among those of fields, tell a reader nothing.

    Args:
        error: Pydantic's.
        whole: What is to blame where no field is named: parts of messages are looked at by themselves.
    """
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = [part for part in detail["loc"] if not str(part)[:1].isupper()]
    if not place or isinstance(place[0], int):
        place.insert(0, whole)
    code = "missing_required_parameter" if detail["type"] == "missing" else "invalid_value"
    return ".".join(map(str, place))[:80], detail["msg"], code


def explain(error: Any, body: Mapping[str, Any]) -> ApiAnswer:
    """Return vLLM's own reason for a refusal."""
    code = None
    if "maximum context length" in error.message:
        code = "context_length_exceeded"
    elif error.code == 404:
        code = "model_not_found"
    return refuse(error.code, error.message, error.param, code, body)


def refuse(status: int, message: str, param: str | None, code: str | None, body: Mapping[str, Any]) -> ApiAnswer:
    """Return a refusal with its reason, unless that recites the request."""
    said = " ".join(message.split())[:MAX_REASON_CHARACTERS]
    if quotes(f"{message} {param}", body):
        return write_error(status, "refused by vLLM, for a reason that recites the request", None, code)
    return write_error(status, said, param, code)

"""The deployment that holds the model, as gateways ask it: nothing that a request says gets into an error or a log."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest

from eshop_ray.artifacts import AnyFolder
from eshop_ray.inference.engines.serve import build_completion, read_completion
from eshop_ray.inference.engines.vllm_server import list_ignored, read_response, read_trouble
from eshop_ray.inference.openai_api import CHAT_URL, rename_constraints, write_error
from eshop_ray.inference.requests import Answer, ApiAnswer, Failure, find_too_long
from eshop_ray.models import load_tokenizer
from eshop_ray.serving.adapters import Adapters
from eshop_ray.serving.calls import ApiCall, Call, ModelFacts, Piece, PromptCall
from eshop_ray.serving.prompt_thread import PromptThread
from eshop_ray.serving.pulse import Pulse
from eshop_ray.serving.readiness import PROBE

logger = logging.getLogger(__name__)

REQUEST_TYPES = {"chat": ChatCompletionRequest, "completions": CompletionRequest}


class ModelReplica(LLMServer):  # type: ignore[misc]
    """Ray Serve LLM's server, asked in plain values: a gateway needs no vLLM to ask it."""

    async def __init__(  # type: ignore[misc]  # Ray Serve's
        self, llm_config: LLMConfig, model_dir: AnyFolder, adapters: Adapters
    ) -> None:
        """Start the engine.

        Args:
            llm_config: Ray Serve LLM's.
            model_dir: Whose tokenizer and chat template write the prompts of tasks.
            adapters: That the engine has beside the model.
        """
        await super().__init__(llm_config)
        self._adapters = adapters
        self._prompts = PromptThread(partial(load_tokenizer, model_dir))
        self._pulse = Pulse(self._generate)
        for number, (name, folder) in enumerate(adapters.items(), start=1):
            place = await asyncio.to_thread(os.fspath, folder)
            await self.engine.resolve_lora(
                DiskMultiplexConfig(model_id=name, local_path=place, max_total_tokens=None, lora_assigned_int_id=number)
            )

    async def describe_model(self) -> ModelFacts:
        """Say what the model is, once it is up."""
        return ModelFacts(self._read_context())

    async def measure_call(self, call: Call) -> int | None:
        """Return the tokens of a call's prompts; None where they cannot be told."""
        try:
            return await self._prompts.count_tokens(call)
        except Exception as error:  # the engine will say what is wrong with it
            logger.warning("prompt not measured: %s", type(error).__name__)
            return None

    async def answer_call(self, call: Call, request_id: str) -> AsyncIterator[Piece]:
        """Yield the answer; whatever goes wrong comes as one too.

        An error that escapes would stand in Ray Serve's log, with all that it quotes.
        """
        answers = self._answer_api(call) if isinstance(call, ApiCall) else self._answer_prompt(call)
        try:
            async for piece in answers:
                self._pulse.follow(piece)
                yield piece
        except Exception as error:
            logger.error("request %s: %s", request_id, type(error).__name__)
            yield await self._judge(error, call)

    async def check_health(self) -> None:
        """Return if the engine is up and generates; Ray Serve replaces a replica whose check fails three times."""
        await super().check_health()
        await self._pulse.check()

    async def _generate(self) -> None:
        async with aclosing(self._answer_prompt(PROBE)) as pieces:  # type: ignore[type-var]
            piece = await anext(pieces)
        if not isinstance(piece, Answer):
            raise RuntimeError("the engine generates no token")

    async def _answer_api(self, call: ApiCall) -> AsyncIterator[Piece]:
        body = call.body
        method = "chat" if call.url == CHAT_URL else "completions"
        try:
            request = parse_request(method, body, self._find_model(body))
        except Exception as error:
            yield read_trouble(error, body)
            return
        async for piece in await getattr(self, method)(request):
            parts = piece if isinstance(piece, list) else [piece]
            events = [part for part in parts if isinstance(part, str)]
            if events:
                yield events
            for part in parts:
                if not isinstance(part, str):
                    yield read_response(part, body, list_ignored(request))

    async def _answer_prompt(self, call: PromptCall) -> AsyncIterator[Piece]:
        ids = await self._prompts.write_ids(call.messages)
        if too_long := find_too_long(len(ids), call.params, self._read_context()):
            yield too_long
            return
        request = build_completion(self._llm_config.model_id, ids, {**call.params, "logprobs": 0})
        async for response in await self.completions(request):
            answer = read_completion(response)
            yield answer if isinstance(answer, Answer | Failure) else write_error(503, "the engine is busy")

    async def _judge(self, error: Exception, call: Call) -> ApiAnswer | Failure:
        """Return whose fault an error is: a request's if the engine is well all the same."""
        try:
            await super().check_health()
        except Exception:
            return write_error(503, "the engine is down")
        if isinstance(call, PromptCall):
            return Failure("engine", type(error).__name__)
        return write_error(400, f"the engine does not take this request ({type(error).__name__})")

    def _find_model(self, body: dict[str, Any]) -> str:
        """Return what the engine calls the model that a request is for; the gateway lets no unknown name through."""
        name = body.get("model")
        return str(name) if name in self._adapters else str(self._llm_config.model_id)

    def _read_context(self) -> int:
        return int(self.engine._engine_client.model_config.max_model_len)


def parse_request(method: str, body: dict[str, Any], model_id: str) -> Any:
    """Return a request as vLLM reads it.

    Raises:
        ValidationError: of pydantic.
    """
    return REQUEST_TYPES[method](**{**rename_constraints(body), "model": model_id})

"""The process that runs vLLM: one thread loads the model and steps, whoever asks."""

import asyncio
import logging
import os
import queue
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eshop_ray.errors import UserError
from eshop_ray.inference.requests import Answer, Failure, Reply, Request, find_too_long

logger = logging.getLogger(__name__)

COMPILED_DIR = Path("~/.cache/eshop_ray/compiled")
"""What was compiled; the compiler's own choice is a folder for temporary files, which systems clear."""


@dataclass(slots=True)
class _PendingCall:
    requests: Sequence[Request]
    replies: dict[int, Reply] = field(default_factory=dict)
    done: "Future[list[Reply]]" = field(default_factory=Future)

    def put(self, index: int, reply: Reply) -> None:
        """File a reply; the last one answers the call, if anybody still waits."""
        self.replies[index] = reply
        if len(self.replies) == len(self.requests) and not self.done.cancelled():
            self.done.set_result([self.replies[place] for place in range(len(self.requests))])


class VllmActor:
    """Answers calls as they come; their rows run in one continuous batch.

    Everything of vLLM happens in one thread, its start too: OpenMP keeps its workers, and their places on the cores,
    by the thread that calls it.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = dict(arguments)
        self._inbox: queue.SimpleQueue[_PendingCall] = queue.SimpleQueue()
        self._open: dict[str, tuple[_PendingCall, int]] = {}
        self._num_requests = 0
        self._up: Future[None] = Future()
        threading.Thread(target=self._run, name="vllm", daemon=True).start()

    async def ready(self) -> None:
        """Return when the model is loaded.

        Raises:
            UserError: if vLLM refuses its arguments.
        """
        await asyncio.wrap_future(self._up)

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer a call."""
        call = _PendingCall(requests)
        self._inbox.put(call)
        return await asyncio.wrap_future(call.done)

    def _run(self) -> None:
        try:
            engine = load_engine(self._arguments)
        except Exception as error:
            self._up.set_exception(error)
            return
        self._up.set_result(None)
        try:
            while True:
                self._admit(engine)
                for output in engine.step():
                    call, index = self._open.pop(output.request_id)
                    call.put(index, read_output(output, call.requests[index].params))
        except BaseException:
            logger.exception("vLLM failed; the process ends, so that its supervisor starts another")
            os._exit(1)

    def _admit(self, engine: Any) -> None:
        """Take in what has arrived; with nothing to step for, wait for it."""
        while not self._open or not self._inbox.empty():
            call = self._inbox.get()
            for index, request in enumerate(call.requests):
                self._add(engine, call, index, request)

    def _add(self, engine: Any, call: _PendingCall, index: int, request: Request) -> None:
        too_long = find_too_long(len(request.prompt), request.params, engine.model_config.max_model_len)
        if too_long:
            return call.put(index, too_long)
        self._num_requests += 1
        name = str(self._num_requests)
        try:
            prompt = {"type": "token", "prompt_token_ids": request.prompt}
            engine.add_request(name, prompt, build_params(request.params))
        except Exception as error:  # its text may quote the row
            return call.put(index, Failure("engine", f"refused by vLLM: {type(error).__name__}"))
        self._open[name] = (call, index)
        return None


def load_engine(arguments: Mapping[str, Any]) -> Any:
    """Return a vLLM engine.

    Raises:
        UserError: if vLLM refuses the arguments.
    """
    arguments = settle_compilation(arguments)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(COMPILED_DIR.expanduser()))
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.executor import Executor

    try:
        config = EngineArgs(**arguments).create_engine_config(UsageContext.LLM_CLASS)  # large batches
    except (TypeError, ValueError) as error:
        raise UserError(f"vLLM refuses its arguments; mend `infer.engine_kwargs`: {error}") from error
    return LLMEngine(config, Executor.get_class(config), log_stats=False)


def settle_compilation(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with `enforce_eager` settled: None compiles where there is a compiler.

    Raises:
        UserError: if the engine is to be compiled and this machine has nothing to do so with.
    """
    settled = dict(arguments)
    eager = settled.get("enforce_eager", True)
    if eager is None:
        settled["enforce_eager"] = not has_compiler()
    elif not eager and not has_compiler():
        raise UserError(
            "the engine cannot be compiled: this machine has no C++ compiler; install one (`apt-get install g++`) or "
            "set `infer.compile=false`"
        )
    return settled


def has_compiler() -> bool:
    """Return whether PyTorch finds a C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


def build_params(params: Mapping[str, Any]) -> Any:
    """Return vLLM's form of sampling parameters."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    output = params.get("structured_outputs")
    constraint = StructuredOutputsParams(**output) if output else None
    return SamplingParams(**{**params, "structured_outputs": constraint, "output_kind": RequestOutputKind.FINAL_ONLY})


def read_output(output: Any, params: Mapping[str, Any]) -> Reply:
    """Return a finished request's answer. An impossible constraint stops the model before its first token."""
    completion = output.outputs[0]
    if completion.finish_reason not in ("stop", "length"):
        return Failure("engine", f"vLLM ended with `{completion.finish_reason}`")
    if completion.finish_reason == "stop" and not completion.text and not may_be_empty(params):
        return Failure("engine", "no answer fits its constraint")
    return Answer(completion.text, completion.finish_reason, len(output.prompt_token_ids), len(completion.token_ids))


def may_be_empty(params: Mapping[str, Any]) -> bool:
    """Return whether nothing is an answer, as far as the constraint shows that."""
    constraint = params.get("structured_outputs") or {}
    if "choice" in constraint:
        return "" in constraint["choice"]
    if "regex" in constraint:
        try:
            return bool(re.fullmatch(constraint["regex"], ""))
        except re.error:  # vLLM's regular expressions are not quite Python's
            return True
    return "json" not in constraint

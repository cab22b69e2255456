"""The process that runs vLLM: one thread loads the model and steps, whoever asks."""

import asyncio
import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin

from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.lifecycle import EngineDiedError
from eshop_ray.inference.engines.vllm_output import read_output
from eshop_ray.inference.engines.vllm_server import ApiServer, split_arguments
from eshop_ray.inference.engines.vllm_switch import TaskWeights, add_lora_arguments
from eshop_ray.inference.openai_api import quotes
from eshop_ray.inference.requests import Answer, ApiRequest, Failure, Reply, Request, find_too_long

logger = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 3.0
"""So long a process that ends still tells why."""
MAX_REASON_CHARACTERS = 300
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

    Everything of vLLM's engine happens in one thread, its start too: OpenMP keeps its workers, and their places on the
    cores, by the thread that calls it. The actor's own thread reads and writes what OpenAI's API says.
    """

    def __init__(self, arguments: Mapping[str, Any], serves_api: bool = False) -> None:
        """Start the engine.

        Args:
            arguments: vLLM's, of its engine, and of its server where there is one; `model` may be any folder that
                nodes share.
            serves_api: Whether `ApiRequest`s will be asked too.
        """
        self._arguments = dict(arguments)
        self._serves_api = serves_api
        self._inbox: queue.SimpleQueue[Callable[[Any], None]] = queue.SimpleQueue()
        self._open: dict[str, Callable[[Any], None]] = {}
        self._parked: dict[str, list[tuple[_PendingCall, int]]] = {}
        """Rows whose weights are not folded in, by these."""
        self._waiting: dict[Future[Any], Sequence[Request]] = {}
        """Who waits for the engine, and the rows that they wait for, as far as these are known here."""
        self._weights: TaskWeights
        self._num_requests = 0
        self._num_finished = 0
        self._up: Future[Any] = Future()
        self._server: asyncio.Task[ApiServer] | None = None
        threading.Thread(target=self._run, name="vllm", daemon=True).start()

    async def ready(self) -> None:
        """Return when the model is loaded.

        Raises:
            UserError: if vLLM refuses its arguments.
            EngineDiedError: if it does not start, in vLLM's words: there are no rows yet that they could quote.
        """
        try:
            engine = await asyncio.wrap_future(self._up)
        except UserError:
            raise
        except Exception as error:
            raise EngineDiedError(name_error(error)) from error
        if self._serves_api and self._server is None:
            self._server = asyncio.create_task(ApiServer.build(engine, self._arguments, self._ask, self._call))
        if self._server:
            try:
                await asyncio.shield(self._server)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"vLLM's server refuses its arguments: {error}") from error

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer a call."""
        of_api = [request for request in requests if isinstance(request, ApiRequest)]
        if of_api:
            assert self._server
            server = await asyncio.shield(self._server)
            return list(await asyncio.gather(*map(server.answer, of_api)))
        call = _PendingCall(requests)
        self._expect(call.done, requests)
        self._inbox.put(functools.partial(self._admit_call, call))
        return await asyncio.wrap_future(call.done)

    async def measure_progress(self) -> int:
        """Return a number that changes with each token that is written, and with each answer."""
        if not self._up.done():
            return 0
        states = list(self._up.result().output_processor.request_states.values())
        written: int = sum(state.detokenizer.num_output_tokens() for state in states if state.detokenizer)
        return self._num_finished + written

    def _run(self) -> None:
        try:
            self._arguments["model"] = os.fspath(self._arguments["model"])
            folder = Path(self._arguments["model"])
            engine = load_engine(add_lora_arguments(self._arguments, folder), self._serves_api)
            self._weights = TaskWeights(engine, folder)
        except Exception as error:
            self._up.set_exception(error)
            return
        self._up.set_result(engine)
        try:
            while True:
                self._take_up(engine)
                for output in engine.step() if self._open else ():
                    self._open.pop(output.request_id)(output)
                    self._num_finished += 1
        except BaseException as error:
            logger.exception("vLLM failed; the process ends, so that its supervisor starts another")
            self._fail(error, engine)
            time.sleep(LAST_WORDS_SECONDS)
            os._exit(1)

    def _take_up(self, engine: Any) -> None:
        """Admit what has come in; with nothing to step for, turn to rows of other weights, or wait."""
        while not self._inbox.empty() or not (self._open or self._parked):
            self._inbox.get()(engine)
        if not self._open:
            name = max(self._parked, key=lambda name: len(self._parked[name]))
            started = time.perf_counter()
            self._weights.switch(name)
            seconds: float | None = time.perf_counter() - started
            for call, index in self._parked.pop(name):
                self._admit(call, index, engine, seconds)
                seconds = None

    def _expect(self, done: "Future[Any]", requests: Sequence[Request] = ()) -> None:
        self._waiting[done] = requests
        done.add_done_callback(lambda _: self._waiting.pop(done, None))

    def _fail(self, error: BaseException, engine: Any) -> None:
        """Tell who waits why there will be no answer, unless that would recite a row."""
        waiting = list(self._waiting.items())
        reason = name_error(error)
        try:
            texts = [engine.get_tokenizer().decode(one.prompt) for _, requests in waiting for one in requests]
            is_quoted = quotes(reason, {"prompt": texts}) or not all(requests for _, requests in waiting)
        except Exception:
            is_quoted = True
        for done, _ in waiting:
            if not done.done():
                done.set_exception(EngineDiedError(type(error).__name__ if is_quoted else reason))

    def _admit_call(self, call: _PendingCall, engine: Any) -> None:
        for index, request in enumerate(call.requests):
            too_long = find_too_long(len(request.prompt), request.params, engine.model_config.max_model_len)
            if too_long:
                call.put(index, too_long)
            elif not self._weights.has(request.weights):
                call.put(index, Failure("engine", f"the model has no weights for {request.weights}"))
            elif self._weights.can_answer(request.weights):
                self._admit(call, index, engine)
            else:
                self._parked.setdefault(request.weights, []).append((call, index))

    def _admit(self, call: _PendingCall, index: int, engine: Any, switch_seconds: float | None = None) -> None:
        request, name = call.requests[index], self._name_request()
        prompt = {"type": "token", "prompt_token_ids": request.prompt}
        lora = self._weights.choose_lora(request.weights)
        try:
            engine.add_request(name, prompt, build_params(request.params), lora_request=lora)
        except Exception as error:  # its text may quote the row
            call.put(index, Failure("engine", f"refused by vLLM: {type(error).__name__}"))
        else:
            self._open[name] = functools.partial(_put_output, call, index, switch_seconds)

    def _name_request(self) -> str:
        self._num_requests += 1
        return str(self._num_requests)

    async def _ask(self, add_request: Callable[[Any, str], None]) -> Any:
        """Return the output of a request that a function adds to the engine, under the name that it is given.

        Raises:
            Exception: with which the engine refuses it.
        """

        def add(engine: Any, done: "Future[Any]") -> None:
            name = self._name_request()
            add_request(engine, name)
            self._open[name] = done.set_result

        return await self._run_with_engine(add)

    async def _call(self, function: Callable[[Any], Any]) -> Any:
        """Return what a function makes of the engine, in the engine's thread."""
        return await self._run_with_engine(lambda engine, done: done.set_result(function(engine)))

    async def _run_with_engine(self, function: Callable[[Any, "Future[Any]"], None]) -> Any:
        done: Future[Any] = Future()
        self._expect(done)

        def run(engine: Any) -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                function(engine, done)
            except Exception as error:
                done.set_exception(error)

        self._inbox.put(run)
        return await asyncio.wrap_future(done)


def name_error(error: BaseException) -> str:
    """Return the type and the first words of an error."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:MAX_REASON_CHARACTERS]}"


def _put_output(call: _PendingCall, index: int, switch_seconds: float | None, output: Any) -> None:
    reply = read_output(output, call.requests[index].params)
    call.put(index, replace(reply, switch_seconds=switch_seconds) if isinstance(reply, Answer) else reply)


def load_engine(arguments: Mapping[str, Any], with_server: bool = False) -> Any:
    """Return a vLLM engine.

    Args:
        arguments: vLLM's.
        with_server: Whether arguments of vLLM's server may be among them.

    Raises:
        UserError: if vLLM refuses the arguments.
    """
    arguments = settle_compilation(arguments)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(COMPILED_DIR.expanduser()))
    if with_server:
        arguments, _ = split_arguments(arguments)
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.executor import Executor

    try:
        config = EngineArgs(**build_configs(arguments)).create_engine_config(UsageContext.LLM_CLASS)  # large batches
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"vLLM refuses its arguments; mend `infer.engine_kwargs`: {error}") from error
    return LLMEngine(config, Executor.get_class(config), log_stats=False)


def build_configs(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with vLLM's own objects where it takes no JSON.

    Raises:
        UserError: if the engine is to be several, which the actors of the pipeline are.
    """
    from vllm.engine.arg_utils import EngineArgs

    if arguments.get("data_parallel_size", 1) != 1:
        raise UserError("infer.engine_kwargs.data_parallel_size: engines are started by `infer.concurrency`; set that")
    types: dict[str, Any] = {one.name: one.type for one in fields(EngineArgs)}
    built = dict(arguments)
    for name, value in arguments.items():
        kinds = [kind for kind in (types.get(name), *get_args(types.get(name))) if kind]
        configs = [kind for kind in kinds if is_dataclass(kind) and isinstance(kind, type)]
        if isinstance(value, dict) and configs and not any(dict in (kind, get_origin(kind)) for kind in kinds):
            built[name] = configs[0](**value)
    return built


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

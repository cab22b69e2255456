"""vLLM itself, on a model that knows nothing: what it answers does not matter here, that it does is what counts."""

import os
import re

import pyarrow as pa
import pytest

from eshop_ray.config import InferSection
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.errors import UserError
from eshop_ray.inference.build import build_engine
from eshop_ray.inference.engines.vllm import actor_options, count_calls, engine_kwargs
from eshop_ray.inference.engines.vllm_actor import load_engine, settle_compilation
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import PROMPT_SCHEMA, encode
from tests.processes import find_processes
from tests.waiting import wait_until

NUM_ROWS = 64
BLOCK_ROWS = 16
LONG_TOKENS = 150
LONG = {"temperature": 0.0, "max_tokens": LONG_TOKENS, "ignore_eos": True}


def row(index, content="red wool scarf", params=None, **values):
    return {
        **dict.fromkeys(PROMPT_SCHEMA.names),
        "id": str(index),
        "task": "generation",
        "messages": [{"role": "user", "content": f"{content} {index}"}],
        "sampling_params": encode(params or {"temperature": 0.0, "max_tokens": 8}),
        **values,
    }


def held_to(max_tokens=64, **output):
    return {"temperature": 0.0, "max_tokens": max_tokens, "structured_outputs": output}


ROWS = {
    0: row(0),
    1: row(1, params=held_to(choice=["Garden", "Kitchen"])),
    2: row(2, params=held_to(regex="(red|blue) [0-9]{2}")),
    3: row(3, params=held_to(regex="(")),
    4: row(4, "scarf " * 3000),
    5: row(5, error="prompt: KeyError"),
    6: row(6, params={"temperature": 0.0, "max_tokens": 8, "no_such_param": 1}),
    **{index: row(index, params=LONG) for index in range(7, NUM_ROWS)},
}


def find_engines():
    """Processes of this test session that run vLLM, those that only vLLM started included."""
    engines = find_processes(os.getpid(), "ray::VllmActor")
    return {process for engine in engines for process in (engine, *find_processes(engine.pid))}


def answer(model_dir, see):
    """Return the rows by id, as an engine answers them; `see` is called after the first block."""
    import ray.data

    rows = list(ROWS.values())
    parts = (rows[start : start + BLOCK_ROWS] for start in range(0, NUM_ROWS, BLOCK_ROWS))
    tables = [pa.Table.from_pylist(part, schema=PROMPT_SCHEMA) for part in parts]
    config = InferSection(batch_size=16, cpu_kvcache_gib=1, engine_kwargs={"dtype": "float32", "max_num_seqs": 16})
    engine = build_engine(config, model_dir)
    blocks = []
    for block in engine(ray.data.from_arrow(tables)).iter_batches(batch_size=None, batch_format="pyarrow"):
        blocks.append(block.drop_columns(["engine_seconds"]))
        if len(blocks) == 1:
            see()
    return {one["id"]: one for block in blocks for one in block.to_pylist()}


@pytest.fixture(scope="module")
def rows(lend_vllm, tiny_model_dir):
    """The rows by id, answered."""
    with lend_vllm():
        return answer(tiny_model_dir, lambda: None)


def test_answers_obey_their_limits_and_constraints(rows, tiny_model_dir):
    assert rows.keys() == {str(index) for index in ROWS}
    ids = tokenize_prompt(load_tokenizer(tiny_model_dir), ROWS[0]["messages"])
    assert rows["0"]["num_input_tokens"] == len(ids)
    assert rows["0"]["num_generated_tokens"] <= 8
    assert rows["1"]["generated_text"] in {"Garden", "Kitchen"}
    assert re.fullmatch("(red|blue) [0-9]{2}", rows["2"]["generated_text"])
    assert (rows["1"]["finish_reason"], rows["2"]["finish_reason"]) == ("stop", "stop")
    assert {
        (rows[str(index)]["finish_reason"], rows[str(index)]["num_generated_tokens"]) for index in range(8, NUM_ROWS)
    } == {("length", LONG_TOKENS)}


def test_row_that_cannot_be_asked_says_why_and_quotes_nothing(rows):
    assert rows["3"]["error"] == "engine: refused by vLLM: VLLMValidationError"
    assert re.fullmatch(
        r"too_long: \d{4,} prompt tokens and 8 to generate exceed the context of 2048", rows["4"]["error"]
    )
    assert rows["5"]["error"] == "prompt: KeyError"
    assert rows["6"]["error"] == "engine: refused by vLLM: TypeError"
    failed = {name for name, one in rows.items() if one["error"]}
    assert failed == {"3", "4", "5", "6"}
    assert {rows[name]["generated_text"] for name in failed} == {None}


@pytest.mark.slow  # two starts of vLLM; engines that are simulated are killed by faster tests
def test_killed_engine_is_replaced_and_leaves_no_process(rows, tiny_model_dir):
    others, killed = find_engines(), set()

    def kill():
        killed.update(find_engines() - others)
        for process in killed:
            if process.name().startswith("ray::VllmActor"):
                process.kill()

    assert answer(tiny_model_dir, kill) == rows
    assert killed
    wait_until(
        lambda: not any(one.is_running() for one in killed) and find_engines() <= others,
        "the end of the engine and of what was killed",
        timeout_s=10,
    )


def test_settings_of_the_engine():
    config = InferSection(engine_kwargs={"max_num_seqs": 100}, batch_size=64)
    assert engine_kwargs(config)["max_num_seqs"] == 100
    assert engine_kwargs(config)["structured_outputs_config"] == {"backend": "guidance"}
    assert count_calls(config) == 5
    assert count_calls(InferSection(max_concurrent_batches=9)) == 9
    on_cpu = actor_options(config)
    assert (on_cpu["num_cpus"], on_cpu["num_gpus"]) == (1, 0)
    assert on_cpu["runtime_env"]["env_vars"]["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    sharded = InferSection(use_gpu=True, engine_kwargs={"tensor_parallel_size": 4, "pipeline_parallel_size": 2})
    assert actor_options(sharded)["num_gpus"] == 8
    assert actor_options(sharded)["runtime_env"]["env_vars"] == {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def test_threads_of_the_engine():
    variables = actor_options(InferSection(cpu_threads=3))["runtime_env"]["env_vars"]
    assert variables["OMP_NUM_THREADS"] == "3"


def test_long_runs_are_compiled_where_a_compiler_is(monkeypatch):
    def eager(num_rows, **values):
        return engine_kwargs(InferSection(**values), num_rows).get("enforce_eager", "unset")

    assert (eager(None), eager(3999), eager(4000)) == (True, True, None)
    assert (eager(4000, concurrency=2), eager(8000, concurrency=2)) == (True, None)
    assert (eager(9, compile=True), eager(9999, compile=False)) == (False, True)
    assert eager(9999, engine_kwargs={"enforce_eager": True}) is True
    assert eager(9999, use_gpu=True) == "unset"

    assert settle_compilation({"enforce_eager": None}) == {"enforce_eager": False}
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    assert settle_compilation({"enforce_eager": None}) == {"enforce_eager": True}
    assert settle_compilation({"model": "x"}) == {"model": "x"}
    with pytest.raises(UserError, match="no C\\+\\+ compiler"):
        settle_compilation({"enforce_eager": False})


@pytest.mark.usefixtures("starts_vllm")
def test_misspelt_argument_is_the_users_to_mend(tiny_model_dir):
    with pytest.raises(UserError, match=r"infer.engine_kwargs.*max_modle_len"):
        load_engine({"model": str(tiny_model_dir), "max_modle_len": 1})
    with pytest.raises(UserError, match=r"data_parallel_size: engines are started by `infer.concurrency`"):
        load_engine({"model": str(tiny_model_dir), "data_parallel_size": 2})

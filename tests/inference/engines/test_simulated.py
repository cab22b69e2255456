"""The engine stage on real Ray: whatever happens to an engine's process, every row comes back, in its block."""

import contextlib
import json
import os
import re
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from eshop_ray.config import InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.build import build_engine
from eshop_ray.inference.dispatch.blocks import ANSWER_FIELDS, ENGINE_SECONDS
from eshop_ray.inference.engines.simulated.answers import make_answer
from eshop_ray.inference.reading import Reading
from eshop_ray.inference.requests import Answer, Failure
from eshop_ray.schema import MESSAGES, encode
from eshop_ray.tasks import get_task, list_tasks
from tests.waiting import wait_until

EXTRA = pa.list_(pa.struct([("sku", pa.int32()), ("tags", pa.map_(pa.string(), pa.binary()))]))
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("extra", EXTRA),
        ("task", pa.string()),
        ("messages", MESSAGES),
        ("sampling_params", pa.string()),
        ("error", pa.string()),
    ]
)
EXPECTED = pa.schema([*SCHEMA, *(field for field in ANSWER_FIELDS if field.name != "error"), ENGINE_SECONDS])


def row(index, text="red wool scarf", max_tokens=32, **values):
    return {
        "id": str(index),
        "extra": [{"sku": index, "tags": {"a": b"\xff"}}],
        "task": "generation",
        "messages": [{"role": "system", "content": "Write."}, {"role": "user", "content": f"{text} {index}"}],
        "sampling_params": encode({"temperature": 0.0, "max_tokens": max_tokens}),
        "error": None,
        **values,
    }


def cut(rows, rows_per_block):
    parts = (rows[start : start + rows_per_block] for start in range(0, len(rows), rows_per_block))
    return [pa.Table.from_pylist(part, schema=SCHEMA) for part in parts]


def answer(tables, on_block=None, reader=None, **config):
    """The answered blocks in the order of their ids; `on_block` is called after each."""
    import ray.data

    config = {"batch_size": 16, "max_retries": 2, **config}
    engine = build_engine(InferSection(engine="simulated", **config), Path("none"), reader)
    blocks = []
    for block in engine(ray.data.from_arrow(tables)).iter_batches(batch_size=None, batch_format="pyarrow"):
        blocks.append(block)
        if on_block:
            on_block(len(blocks))
    return sorted(blocks, key=lambda block: int(block["id"][0].as_py()))


def signal_actors(class_name, with_signal, number):
    """Send a signal to all processes of an actor class once there are so many, and return how many there were."""
    from ray._private import state

    def find():
        actors = state.actors().values()
        return [one["Pid"] for one in actors if class_name in one["ActorClassName"] and one["State"] == "ALIVE"]

    wait_until(lambda: len(find()) >= number, f"{number} processes of {class_name}")
    pids = find()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, with_signal)
    return len(pids)


def test_blocks_keep_rows_order_and_columns(ray_session):  # noqa: ARG001
    rows = [row(index) for index in range(50)]
    rows[3] = row(3, error="prompt: KeyError")
    rows[4] = row(4, messages=None)
    rows[5] = row(5, sampling_params="{}")
    tables = cut(rows, 20)
    blocks = answer(tables, concurrency=2)
    assert [block.num_rows for block in blocks] == [20, 20, 10]
    for table, block in zip(tables, blocks, strict=True):
        assert block.schema.equals(EXPECTED)
        assert block.select(["id", "extra", "messages"]).equals(table.select(["id", "extra", "messages"]))
    answered = blocks[0].to_pylist()
    assert [one["error"] for one in answered[3:6]] == ["prompt: KeyError", None, "prompt: sampling_params: KeyError"]
    assert {(one["generated_text"], one["num_attempts"], one["num_input_tokens"]) for one in answered[3:6]} == {
        (None, 0, 0)
    }
    assert answered[0]["generated_text"] == "red wool scarf 0"
    assert (answered[0]["finish_reason"], answered[0]["num_attempts"]) == ("stop", 1)
    assert (answered[0]["num_input_tokens"], answered[0]["num_generated_tokens"]) == (5, 4)


@pytest.mark.parametrize("concurrency", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_killed_and_frozen_processes_change_nothing(ray_session, concurrency):  # noqa: ARG001
    tables = cut([row(index) for index in range(400)], 40)
    blows = {
        1: ("SimulatedEngine", signal.SIGKILL, concurrency),
        3: ("AnswerStage", signal.SIGKILL, 1),
        6: ("SimulatedEngine", signal.SIGSTOP, concurrency),
    }
    struck = []

    def strike(num_blocks):
        if num_blocks in blows:
            struck.append(signal_actors(*blows[num_blocks]))

    options = {"rows_per_second": 200 / concurrency}
    blocks = answer(tables, strike, timeout_seconds=2, concurrency=concurrency, engine_kwargs=options)
    assert all(number >= least for number, (_, _, least) in zip(struck, blows.values(), strict=True))
    for table, block in zip(tables, blocks, strict=True):
        assert block.select(table.schema.names).equals(table)
        assert block["generated_text"].to_pylist() == [f"red wool scarf {index.as_py()}" for index in table["id"]]


def test_each_fault_costs_its_row_only(ray_session):  # noqa: ARG001
    rows = [row(index) for index in range(120)]
    for index, word in enumerate(("KILL", "REJECT", "REFUSE", "LONG", "EMPTY")):
        rows[20 * index] = row(20 * index, text=f"{word} wool")
    options = {"kill_on": "KILL", "reject_on": "REJECT", "refuse_on": "REFUSE", "truncate_on": "LONG"}
    blocks = answer(cut(rows, 40), concurrency=2, engine_kwargs={**options, "empty_on": "EMPTY"})
    answered = [one for block in blocks for one in block.to_pylist()]
    assert [one["id"] for one in answered] == [str(index) for index in range(120)]
    errors = {one["id"]: one["error"] for one in answered if one["error"]}
    assert errors.keys() == {"0", "20"}
    assert errors["0"].startswith("engine_killed: ")
    assert errors["20"] == "engine: rejected on command"
    assert answered[40]["generated_text"] == "REFUSE wool 40"
    assert (answered[60]["finish_reason"], answered[60]["num_generated_tokens"]) == ("length", 32)
    assert (answered[80]["generated_text"], answered[80]["finish_reason"]) == ("", "stop")


@pytest.mark.slow  # dispatch/test_supervisor.py has all kinds of it without processes
def test_engine_that_always_dies_ends_the_job(ray_session):  # noqa: ARG001
    rows = [row(index) for index in range(120)]
    with pytest.raises(UserError, match=r"the engine died \d times in a row, whatever it was asked"):
        answer(cut(rows, 40), engine_kwargs={"kill_on": ""})


def test_cut_answer_is_asked_for_once_more(ray_session):  # noqa: ARG001
    def with_room(values):
        if values["id"] == "2":
            raise KeyError("secret")
        is_cut = values["finish_reason"] == "length"
        return Reading(json.dumps(values["generated_text"]), retry_params={"max_tokens": 100} if is_cut else None)

    rows = [row(0), row(1, "LONG"), row(2), row(3, "ENDLESS LONG"), row(4, error="prompt: x")]
    options = {"truncate_on": "LONG", "truncate_tokens": 40}
    (block,) = answer(cut(rows, 5), reader=with_room, engine_kwargs=options)
    answered = block.to_pylist()
    assert [one["num_attempts"] for one in answered] == [1, 2, 1, 2, 0]
    assert (answered[1]["finish_reason"], answered[1]["num_generated_tokens"]) == ("stop", 32 + 40)
    assert answered[1]["num_input_tokens"] == 2 * 3
    assert len(answered[1]["generated_text"].split()) == 40
    assert answered[2]["error"] == "parse: KeyError"
    assert json.loads(answered[1]["prediction"]) == answered[1]["generated_text"]
    assert answered[2]["prediction"] is None
    assert json.loads(answered[1]["sampling_params"])["max_tokens"] == 32


@pytest.mark.parametrize("name", list_tasks())
def test_answers_obey_every_tasks_constraint(name):
    task = get_task(name)
    for example in task.examples:
        output = task.output(example)
        made = make_answer("a prompt", {"max_tokens": 500, "structured_outputs": output})
        assert isinstance(made, Answer)
        if output and "regex" in output:
            assert re.fullmatch(output["regex"], made.text)
        elif output and "json" in output:
            told, asked = json.loads(made.text), output["json"]["properties"]
            assert told.keys() == asked.keys()
            assert all(value in asked[name].get("enum", [value]) for name, value in told.items())
        elif output:
            assert made.text in output["choice"]


def test_unknown_option_and_unknown_constraint_are_named():
    with pytest.raises(UserError, match="kill_onn"):
        build_engine(InferSection(engine="simulated", engine_kwargs={"kill_onn": "x"}), Path("none"))
    made = make_answer("x", {"max_tokens": 5, "structured_outputs": {"json": {}}})
    assert isinstance(made, Failure)
    assert "json" in made.error

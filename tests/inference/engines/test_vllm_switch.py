"""Rows of several tasks to an engine that has the weights of one of them at a time."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eshop_ray.errors import UserError
from eshop_ray.inference.engines import vllm_switch
from eshop_ray.inference.engines.vllm_actor import VllmActor, _PendingCall
from eshop_ray.inference.engines.vllm_switch import TaskWeights, add_fused, add_lora_arguments
from eshop_ray.inference.requests import Failure, Request
from eshop_ray.models.switched import TaskProof, write_proofs
from eshop_ray.models.switched_weights import write_update

PARAMS = {"temperature": 0.0, "max_tokens": 4}
PROOFS = {
    "ner": TaskProof([1, 2, 3], [-1.0, -1.0], [-5.0, -5.0]),
    "ranking": TaskProof([1, 2, 3], [-2.0, -2.0], [-5.0, -5.0]),
}


class Engine:
    """Answers each row in one step; what it says to a proof hangs on the weights that it was given."""

    def __init__(self, follows=True):
        self.events = []
        self.follows = follows
        self.weights = None
        self.open = []
        self.vllm_config = SimpleNamespace(lora_config=None)
        self.model_config = SimpleNamespace(max_model_len=100)

    def collective_rpc(self, function, args):
        assert function is vllm_switch.exchange
        assert not self.open
        self.weights = args[1] if self.follows else self.weights
        self.events.append(f"switch to {args[1]}")

    def reset_prefix_cache(self):
        self.events.append("forget prefixes")

    def add_request(self, name, prompt, params, lora_request=None):  # noqa: ARG002
        self.open.append((name, prompt["prompt_token_ids"]))

    def has_unfinished_requests(self):
        return bool(self.open)

    def step(self):
        name, ids = self.open.pop(0)
        said = {"ner": -1.01, "ranking": -2.01, None: -5.0}[self.weights]
        if name != "proof":
            self.events.append(f"{ids[0]} by {self.weights}")
        logprobs = [None, *({token: SimpleNamespace(logprob=said)} for token in ids[1:])]
        return [SimpleNamespace(request_id=name, prompt_logprobs=logprobs, finished=True)]


@pytest.fixture
def model_dir(tmp_path):
    write_proofs(tmp_path, PROOFS)
    for task in (*PROOFS, "classification"):
        write_rank(tmp_path, task, 4)
    return tmp_path


def write_rank(model_dir, task, rank):
    factors = {"model.layers.0.mlp.down_proj": (torch.zeros(rank, 8), torch.zeros(8, rank))}
    write_update(model_dir / "switched" / task, factors)


def run(engine, weights, calls, monkeypatch):
    """Put calls into an actor's inbox, step until all are answered, and return the actor."""
    monkeypatch.setattr("eshop_ray.inference.engines.vllm_actor.build_params", lambda params: params)
    monkeypatch.setattr(
        "eshop_ray.inference.engines.vllm_actor._put_output",
        lambda call, index, seconds, _: call.put(index, (call.requests[index].prompt[0], seconds is not None)),
    )
    monkeypatch.setattr("threading.Thread.start", lambda _: None)
    actor = VllmActor({"model": "unread"})
    actor._weights = weights
    for call in calls:
        actor._inbox.put(lambda engine, call=call: actor._admit_call(call, engine))
    while not all(call.done.done() for call in calls):
        actor._take_up(engine)
        for output in engine.step() if actor._open else ():
            actor._open.pop(output.request_id)(output)
    return actor


def ask(*rows):
    return _PendingCall([Request([number, 0], PARAMS, weights=task) for number, task in rows])


def test_rows_wait_for_their_task_and_each_is_answered_by_its_own_weights(model_dir, monkeypatch):
    engine = Engine()
    weights = TaskWeights(engine, model_dir)
    engine.events.clear()
    calls = [ask((1, "ner"), (2, "ranking"), (3, "ner")), ask((4, "ranking"), (5, "ranking"), (6, "ner"))]
    run(engine, weights, calls, monkeypatch)
    answered = [event for event in engine.events if " by " in event]
    assert sorted(answered) == ["1 by ner", "2 by ranking", "3 by ner", "4 by ranking", "5 by ranking", "6 by ner"]
    assert [event for event in engine.events if "switch" in event] == ["switch to ner"]  # ranking stood there already
    assert engine.events[engine.events.index("switch to ner") + 1] == "forget prefixes"
    assert calls[0].done.result() == [(1, True), (2, False), (3, False)]  # the first to be asked bears the exchange


def test_the_next_task_is_the_one_that_most_rows_wait_for(model_dir, monkeypatch):
    write_proofs(model_dir, {**PROOFS, "classification": PROOFS["ner"]})
    engine = Engine()
    engine.collective_rpc = lambda _, args: engine.events.append(args[1])
    monkeypatch.setattr(TaskWeights, "_prove", lambda *_: None)
    run(
        engine,
        TaskWeights(engine, model_dir),
        [ask((1, "classification"), (2, "ranking"), (3, "ranking"), (4, "ner"), (5, "ner"), (6, "ner"))],
        monkeypatch,
    )
    assert [event for event in engine.events if event in ("ner", "ranking", "classification")] == [
        "ner",
        "ranking",
        "classification",
    ]


def test_a_task_without_weights_fails_its_rows_and_no_others(model_dir, monkeypatch):
    engine = Engine()
    call = ask((1, "summarization"), (2, "ner"))
    run(engine, TaskWeights(engine, model_dir), [call], monkeypatch)
    failed, answered = call.done.result()
    assert failed == Failure("engine", "the model has no weights for summarization")
    assert answered == (2, True)


def test_a_model_with_the_same_weights_for_all_tasks_never_waits(tmp_path, monkeypatch):
    engine = Engine()
    run(engine, TaskWeights(engine, tmp_path), [ask((1, "ner"), (2, "ranking"), (3, ""))], monkeypatch)
    assert engine.events == ["1 by None", "2 by None", "3 by None"]


def test_an_engine_whose_answers_do_not_follow_its_weights_is_refused(model_dir):
    with pytest.raises(UserError, match=r"task ner folded in.*differ by 4\.000, of 4\.000 by which the adapter"):
        TaskWeights(Engine(follows=False), model_dir)


def test_an_engine_that_cannot_exchange_weights_is_refused(model_dir):
    engine = Engine()

    def fail(*_, **__):
        raise NotImplementedError("no reloading here")

    engine.collective_rpc = fail
    with pytest.raises(UserError, match=r"vLLM cannot exchange this model's weights .*no reloading here"):
        TaskWeights(engine, model_dir)


def test_layers_that_hold_several_tensors_are_loaded_whole():
    model = SimpleNamespace(packed_modules_mapping={"qkv_proj": ["q_proj", "k_proj", "v_proj"]})
    names = add_fused({"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"}, model)
    assert {name for name in names if name.endswith("weight")} == {
        *(f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkv"),
        "model.layers.0.mlp.down_proj.weight",
    }


def test_an_engine_that_keeps_updates_beside_the_base_has_room_for_all(tmp_path):
    write_proofs(tmp_path, PROOFS)
    for task, rank in (("ner", 4), ("ranking", 12)):
        write_rank(tmp_path, task, rank)
    arguments = {"model": tmp_path, "enable_lora": True}
    assert add_lora_arguments(arguments, tmp_path) == {**arguments, "max_loras": 2, "max_lora_rank": 16}
    assert add_lora_arguments({**arguments, "max_lora_rank": 64}, tmp_path)["max_lora_rank"] == 64
    assert add_lora_arguments({"model": tmp_path}, tmp_path) == {"model": tmp_path}


@pytest.mark.slow
@pytest.mark.timeout(600)  # three engines
@pytest.mark.parametrize("mode", ["eager", "compiled", "lora"])
def test_real_engine_answers_each_task_as_its_merged_model_does(mode, tiny_model_dir, tmp_path):
    script = Path(__file__).with_name("switched_engine.py")
    command = [sys.executable, str(script), mode, str(tiny_model_dir), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=590, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["differ"]  # the tasks' models answer differently, so equality says something
    assert result["switched"] == result["single"]

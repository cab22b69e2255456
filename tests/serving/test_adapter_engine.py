"""Base and adapters in one engine, with the real model: each name gets the answer of its own merged weights."""

import json
import urllib.request

import pytest
import torch
import yaml
from peft import PeftModel
from ray import serve
from transformers import AutoModelForCausalLM, AutoTokenizer

from eshop_ray.config import ModelSection, load_config
from eshop_ray.jobs import serve as serve_job
from eshop_ray.models import fetch_model
from tests.processes import free_port
from tests.training.merging.lora_files import save_adapter

pytestmark = pytest.mark.slow

NAMES = {"ner": 1, "summaries": 2}
"""Adapter -> seed of its weights."""
QUESTION = "A shop sells wool scarves, steel pans and garden spades. " * 8 + "Name what it sells."
"""Longer than a block of the prefix cache: what a model left there must not answer for another."""
NUM_TOKENS = 12


@pytest.fixture(scope="module")
def base():
    return fetch_model(ModelSection())


@pytest.fixture(scope="module")
def folders(base, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    modules = {"target_modules": ["q_proj", "v_proj", "o_proj", "down_proj"]}
    return {name: save_adapter(base, root / name, seed, **modules).folder for name, seed in NAMES.items()}


@pytest.fixture(scope="module")
def endpoint(ray_session, starts_vllm, folders, tmp_path_factory):  # noqa: ARG001
    root = tmp_path_factory.mktemp("serve")
    settings = {
        "port": free_port(),
        "cpu_kvcache_gib": 1,
        "engine_kwargs": {"dtype": "float32", "max_num_seqs": 8, "max_model_len": 1024},
        "adapters": {name: str(folder) for name, folder in folders.items()},
    }
    (root / "config.yaml").write_text(yaml.safe_dump({"name": "shop", "run_root": str(root), "serve": settings}))
    serve_job.deploy(load_config(str(root / "config.yaml")))
    yield f"http://127.0.0.1:{settings['port']}/v1"
    serve.shutdown()


def ask(endpoint, model):
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
    body |= {"max_tokens": NUM_TOKENS, "temperature": 0, "ignore_eos": True}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{endpoint}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as response:
        answer = json.load(response)
    assert answer["model"] == model
    return answer["choices"][0]["message"]["content"]


def answer_merged(base, folder):
    """Return the greedy answer of Transformers with the adapter merged into the weights, by PEFT."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if folder:
        model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(base)
    messages = [{"role": "user", "content": QUESTION}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    limits = {"max_new_tokens": NUM_TOKENS, "min_new_tokens": NUM_TOKENS, "do_sample": False}
    with torch.inference_mode():
        written = model.generate(**ids, **limits, pad_token_id=tokenizer.eos_token_id)
    return tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def test_each_name_answers_as_its_merged_weights_do_whatever_was_asked_before(endpoint, base, folders):
    wanted = {"eshop": answer_merged(base, None)} | {name: answer_merged(base, path) for name, path in folders.items()}
    assert len(set(wanted.values())) == 3
    for name in ("eshop", "ner", "summaries", "ner", "eshop", "summaries"):  # the second time, the prefix is there
        assert ask(endpoint, name) == wanted[name], name

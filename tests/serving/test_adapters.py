"""Adapters by model name: what the engine is told, what it is not given, and which name leads where."""

import asyncio

import pytest
from pydantic import ValidationError

from eshop_ray.artifacts import write_manifest
from eshop_ray.config import Config, ServeSection
from eshop_ray.errors import UserError
from eshop_ray.jobs import serve as serve_job
from eshop_ray.models import model_digest
from eshop_ray.serving.adapters import RANKS, build_lora_arguments
from tests.serving.made_model import CHAT, MadeModel, client_of, write_adapter

ADAPTERS = {"shop/ner": "adapters/ner", "summaries": "s3://shop/summaries"}


@pytest.mark.parametrize(("rank", "limit"), [(1, 1), (4, 8), (16, 16), (17, 32), (512, 512)])
def test_the_engine_has_room_for_all_adapters_and_the_widest(tmp_path, rank, limit):
    folders = {"a": write_adapter(tmp_path / "a", r=1), "b": write_adapter(tmp_path / "b", r=rank)}
    arguments = build_lora_arguments(folders, {"dtype": "float32"})
    assert arguments == {"enable_lora": True, "max_loras": 2, "max_lora_rank": limit, "dtype": "float32"}


def test_the_ranks_are_those_that_vllm_knows():
    from typing import get_args

    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == RANKS


def test_without_adapters_the_engine_is_told_nothing():
    assert build_lora_arguments({}, {"dtype": "float32"}) == {"dtype": "float32"}


@pytest.mark.parametrize(
    ("settings", "stated", "reason"),
    [
        ({"r": 600}, {}, "rank 600, and the engine takes up to 512"),
        ({"r": 16}, {"max_lora_rank": 8}, r"rank 16.*`serve\.engine_kwargs\.max_lora_rank`"),
        ({"use_dora": True}, {}, "`use_dora`"),
        ({"modules_to_save": ["lm_head"]}, {}, "`modules_to_save`"),
        ({"rank_pattern": {"q_proj": 4}}, {}, "`rank_pattern`"),
        ({"alpha_pattern": {"q_proj": 4}}, {}, "`alpha_pattern`"),
        ({"bias": "all"}, {}, "`bias`"),
        ({"peft_type": "IA3"}, {}, "`peft_type`"),
    ],
)
def test_an_adapter_that_the_engine_would_get_wrong_is_refused(tmp_path, settings, stated, reason):
    with pytest.raises(UserError, match=rf"`serve\.adapters\.ner` .*{reason}"):
        build_lora_arguments({"ner": write_adapter(tmp_path / "ner", **settings)}, stated)


def test_a_folder_without_an_adapter_is_named(tmp_path):
    with pytest.raises(UserError, match=r"adapter_config\.json is missing"):
        build_lora_arguments({"ner": tmp_path}, {})


def test_an_adapter_of_another_base_is_refused_before_a_model_loads(tmp_path, monkeypatch):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    monkeypatch.setattr(serve_job, "find_model", lambda _, name: base if name == "base" else None)
    folder = write_adapter(tmp_path / "ner", target_modules=["q_proj"])
    config = Config(name="x", run_root=str(tmp_path), serve=ServeSection(adapters={"ner": str(folder)}))
    write_manifest(folder, "adapter", "inputs", {"base": model_digest(base)})
    assert serve_job.find_models(config) == (base, {"ner": folder})
    write_manifest(folder, "adapter", "inputs", {"base": "0" * 64})
    with pytest.raises(UserError, match=r"`serve\.adapters\.ner` .* was trained on"):
        serve_job.find_models(config)


def test_a_name_is_one_model_only():
    with pytest.raises(ValidationError, match="call the adapter another"):
        ServeSection(model_id="ner", adapters={"ner": "folder"})


def check(folder, ask, model=None):
    async def run():
        async with client_of(model or MadeModel(), folder, adapters=ADAPTERS) as http:
            return await ask(http)

    return asyncio.run(run())


def test_all_models_are_listed_and_found(tmp_path):
    async def ask(http):
        return await http.get("/v1/models"), await http.get("/v1/models/shop/ner")

    listed, found = check(tmp_path, ask)
    models = {model["id"]: model.get("parent") for model in listed.json()["data"]}
    assert models == {"eshop": None, "shop/ner": "eshop", "summaries": "eshop"}
    assert found.json() in listed.json()["data"]


def test_the_documentation_names_them(tmp_path):
    described = check(tmp_path, lambda http: http.get("/openapi.json")).json()
    body = described["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["model"] == {"type": "string", "enum": ["eshop", *ADAPTERS]}


@pytest.mark.parametrize("name", ["eshop", *ADAPTERS])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_request_reaches_the_model_with_the_name_that_it_asks_for(tmp_path, name, is_stream):
    model = MadeModel()
    body = {**CHAT, "model": name, "max_tokens": 1, "stream": is_stream}
    response = check(tmp_path, lambda http: http.post("/v1/chat/completions", json=body), model)
    assert response.status_code == 200
    assert [call.body["model"] for call in model.calls] == [name]


@pytest.mark.parametrize(("name", "nearest"), [("shop/nr", "shop/ner"), ("summary", "summaries"), (7, "eshop")])
def test_an_unknown_name_is_told_the_nearest(tmp_path, name, nearest):
    body = {**CHAT, "model": name}
    response = check(tmp_path, lambda http: http.post("/v1/chat/completions", json=body))
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert f"the nearest is `{nearest}`" in error["message"]
    assert "a very secret" not in error["message"]

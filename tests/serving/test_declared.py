"""The endpoint as a Serve file: Ray Serve takes it, nodes can read it, and it leads back to the same settings."""

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from eshop_ray.artifacts import SharedFolder
from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.jobs import serve as serve_job
from eshop_ray.models import model_digest
from eshop_ray.serving import declared
from eshop_ray.serving.declared import build_declared, declare, write_declaration
from eshop_ray.serving.keys import make_key, write_line
from tests.serving.made_model import write_adapter

STORED = SharedFolder("s3://shop/runs/demo/merged", "d" * 64)


def config_of(tmp_path, **serve):
    settings = {"api_keys_env": "SHOP_KEYS", "port": 9000, "host": "0.0.0.0", **serve}
    return Config.model_validate({"name": "demo", "run_root": str(tmp_path), "serve": settings})


def write(tmp_path, config, model_dir=STORED, digest=STORED.digest):
    path = tmp_path / "serve.yaml"
    write_declaration(path, config, model_dir, digest)
    return yaml.safe_load(path.read_text())


def build(monkeypatch, args):
    """Return config, model and digest of the application that a file's arguments make."""
    monkeypatch.setattr(declared, "build_application", lambda *arguments: arguments)
    return build_declared(args)


def test_ray_serve_takes_the_file_and_finds_the_application(tmp_path):
    written = write(tmp_path, config_of(tmp_path))
    schema = ServeDeploySchema.model_validate(written)
    assert (schema.http_options.host, schema.http_options.port) == ("0.0.0.0", 9000)
    assert schema.logging_config.enable_access_log is False
    (application,) = schema.applications
    module, _, name = application.import_path.partition(":")
    assert (module, name) == (build_declared.__module__, build_declared.__name__)
    assert (application.name, application.route_prefix) == ("eshop", "/")


def test_the_file_leads_back_to_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_KEYS", write_line(make_key("a")[1]))
    config = config_of(tmp_path, model_id="shop", use_gpu=True, max_body_bytes=7, allowed_hosts=["llm.example"])
    args = write(tmp_path, config)["applications"][0]["args"]
    assert args["serve"]["max_body_bytes"] == 7
    again, model_dir, digest, adapters = build(monkeypatch, args)
    assert (model_dir, digest, adapters) == (STORED, STORED.digest, {})
    ledger = {"ledger_dir": str(config.run_dir / "serve-ledger")}
    batches = {"batches": config.serve.batches.model_copy(update={"dir": str(config.run_dir / "serve-batches")})}
    port = {"port": again.serve.port}
    assert again.serve == config.serve.model_copy(update=ledger | batches | port | {"allowed_hosts": ("llm.example",)})
    assert again.index_uri == config.index_uri
    assert again.infer.temperature == config.infer.temperature


def test_folders_of_this_machine_are_named_as_nodes_find_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, api_keys_env=None, api_keys_file="keys", ledger_dir="ledger")
    args = declare(config, tmp_path / "merged", "0")["applications"][0]["args"]
    assert args["model_uri"] == str(tmp_path / "merged")
    assert args["serve"]["api_keys_file"] == str(tmp_path / "keys")
    assert args["serve"]["ledger_dir"] == str(tmp_path / "ledger")


def test_a_folder_that_changed_since_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_KEYS", write_line(make_key("a")[1]))
    folder = tmp_path / "merged"
    args = declare(config_of(tmp_path), folder, "0" * 64)["applications"][0]["args"]
    with pytest.raises(UserError, match="is not on this node"):
        build(monkeypatch, args)
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has changed since the file was written; `eshop serve --write`"):
        build(monkeypatch, args)
    _, found, *_ = build(monkeypatch, {**args, "model_digest": model_digest(folder)})
    assert found == folder


def test_adapters_lead_back_too_and_are_held_to_their_digests(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_KEYS", write_line(make_key("a")[1]))
    folder = write_adapter(tmp_path / "ner", r=4)
    places = {"ner": "ner", "stored": "s3://shop/runs/stored/adapter"}
    config = config_of(tmp_path, adapters=places)
    stored = SharedFolder(places["stored"], "a" * 64)
    monkeypatch.setattr(declared, "build_lora_arguments", lambda *_: {})
    written = declare(config, STORED, STORED.digest, {"ner": folder, "stored": stored})
    args = yaml.safe_load(yaml.safe_dump(written))["applications"][0]["args"]
    again, _, _, adapters = build(monkeypatch, args)
    assert again.serve.adapters == {"ner": str(folder), "stored": stored.uri}
    assert adapters == {"ner": folder, "stored": stored}
    args["adapter_digests"]["ner"] = "0" * 64
    with pytest.raises(UserError, match=r"adapter `ner` .* has changed since"):
        build(monkeypatch, args)


def test_the_job_writes_the_file_and_starts_nothing(tmp_path, monkeypatch):
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "config.json").write_text("{}")
    monkeypatch.setattr(serve_job, "find_model", lambda *_: merged)
    monkeypatch.setattr(serve_job, "deploy", lambda *_: pytest.fail("it starts the endpoint"))
    serve_job.run(config_of(tmp_path), write=tmp_path / "serve.yaml")
    args = yaml.safe_load((tmp_path / "serve.yaml").read_text())["applications"][0]["args"]
    assert (args["model_uri"], args["model_digest"]) == (str(merged), model_digest(merged))
    assert args["serve"]["engine_kwargs"] == {"max_model_len": serve_job.MODELS_OWN_CONTEXT}


def test_an_endpoint_without_keys_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"`serve\.api_keys_file` or `serve\.api_keys_env`"):
        write(tmp_path, config_of(tmp_path, api_keys_env=None))
    assert not (tmp_path / "serve.yaml").exists()


@pytest.mark.parametrize(
    ("model_dir", "settings"),
    [
        (STORED, {"engine_kwargs": {"hf_token": "hf_very_secret"}}),
        (SharedFolder("s3://user:very_secret@store/merged", "0"), {}),
    ],
)
def test_no_secret_is_written(tmp_path, model_dir, settings):
    with pytest.raises(UserError, match="would hold a secret") as refused:
        write(tmp_path, config_of(tmp_path, **settings), model_dir)
    assert "very_secret" not in str(refused.value)
    assert not (tmp_path / "serve.yaml").exists()


@pytest.mark.parametrize(
    ("args", "reason"),
    [({}, "lack model_uri, model_digest"), ({"model_uri": "s3://a/b", "model_digest": "0"}, "api_keys_file")],
)
def test_a_declared_application_that_lacks_something_says_so(args, reason):
    with pytest.raises(UserError, match=reason):
        build_declared(args)

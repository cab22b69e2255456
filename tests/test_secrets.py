"""Nothing that is written or said holds a key."""

import stat

import pytest
import yaml

from eshop_ray.append_log import AppendLog
from eshop_ray.config import Config, load_config, write_config
from eshop_ray.errors import UserError
from eshop_ray.places import show
from eshop_ray.secrets import hide_in_text, hide_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIA:very%2Fsecret@shop/a.csv", "s3://***@shop/a.csv"),
        ("s3://shop/a.csv?access_key=AKIA&secret_key=x", "s3://shop/a.csv?***"),
        ("https://me:pw@mlflow.example/path failed", "https://***@mlflow.example/path failed"),
        (
            "s3://shop?endpoint_override=host:9000&region=us-east-1",
            "s3://shop?endpoint_override=host:9000&region=us-east-1",
        ),
        ("az://container/file?sig=abc and gs://b/c", "az://container/file?*** and gs://b/c"),
        ("/local/a@b.csv?x=1", "/local/a@b.csv?x=1"),
    ],
)
def test_uris_are_shown_without_keys(text, shown):
    assert hide_in_text(text) == shown
    assert hide_in_text(shown) == shown


def test_values_are_hidden_by_their_names():
    values = {
        "hf_token": "x",
        "api_key": "x",
        "options": {"aws_secret_access_key": "x", "AWS_ACCESS_KEY_ID": "x", "password": None, "region": "eu"},
        "max_tokens": 5,
        "tokenizer": "name",
        "uris": ["s3://a:b@c/d"],
    }
    assert hide_secrets(values) == {
        "hf_token": "***",
        "api_key": "***",
        "options": {"aws_secret_access_key": "***", "AWS_ACCESS_KEY_ID": "***", "password": None, "region": "eu"},
        "max_tokens": 5,
        "tokenizer": "name",
        "uris": ["s3://***@c/d"],
    }


KEY = "AKIAVERYSECRET"
SECRETS = {
    "table": {"uri": f"s3://{KEY}:{KEY}@shop/enriched?access_key={KEY}"},
    "tracking": {"uri": f"https://me:{KEY}@mlflow.example"},
    "infer": {"engine_kwargs": {"hf_token": KEY}},
    "data": {"root": f"s3://shop?secret_key={KEY}"},
}


def test_a_run_directory_holds_no_key_and_is_its_owners(tmp_path):
    config = Config.model_validate({"name": "run", "run_root": str(tmp_path / "runs"), **SECRETS})
    write_config(config)
    written = config.run_dir / "config.yaml"
    assert KEY not in written.read_text()
    assert yaml.safe_load(written.read_text())["infer"]["engine_kwargs"] == {"hf_token": "***"}
    assert stat.S_IMODE(config.run_dir.stat().st_mode) == 0o700


def test_no_message_quotes_a_key(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"name": "run", "tracking": {"uri": {"password": KEY}}}))
    with pytest.raises(UserError) as stopped:
        load_config(str(tmp_path / "c.yaml"))
    assert KEY not in str(stopped.value)
    assert KEY not in show(f"s3://{KEY}:{KEY}@shop/a.csv?access_key={KEY}")


def test_answers_are_for_their_owner_only(tmp_path):
    with AppendLog(tmp_path / "out.jsonl") as log:
        log.append(["{}"])
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600

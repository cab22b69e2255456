"""Jobs that ask an endpoint: kept, continued, paid for once, and without a word of the key."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.artifacts import write_manifest
from eshop_ray.config import load_config, write_config
from eshop_ray.errors import BudgetSpentError, UserError
from eshop_ray.inference.build import build_api_engine, find_answering_model
from eshop_ray.jobs import batch_infer, evaluate
from eshop_ray.schema import RECORD_SCHEMA, encode
from tests.enrichment.shop import Shop
from tests.inference.engines.endpoint import read_answers
from tests.inference.engines.fake_endpoint import refuse, start_endpoint

KEY = "sk-0815-never-to-be-seen"
LABELS = ["Garden", "Kitchen", "Toys"]

pytestmark = pytest.mark.usefixtures("ray_session")


def write_records(folder, num_rows=40):
    for split, number in (("dev", num_rows), ("train", 9)):
        rows = [
            {
                "id": f"{split}{n}",
                "task": "classification",
                "target": encode(LABELS[n % 3]),
                "fields": encode({"text": f"thing {split} {n}", "labels": LABELS}),
            }
            for n in range(number)
        ]
        place = folder / "task=classification" / f"split={split}"
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), place / "part-0.parquet")
    write_manifest(folder, "records", "test", {})


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Return a function that returns a config of the run which asks an endpoint."""
    monkeypatch.setenv("SHOP_KEY", KEY)
    write_records(tmp_path / "shop" / "records")
    path = tmp_path / "config.json"

    def build(endpoint, **openai):
        openai = {
            "base_url": endpoint.url,
            "model": "m",
            "api_key_env": "SHOP_KEY",
            "max_concurrent_requests": 4,
            **openai,
        }
        sections = {"infer": {"engine": "openai"}, "few_shot": {"num_examples": 2}, "openai": openai}
        path.write_text(json.dumps({"name": "shop", "run_root": str(tmp_path), **sections}))
        config = load_config(str(path))
        write_config(config)
        return config

    return build


def find_in_files(folder, text):
    return [path for path in Path(folder).rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


PRICES = {"input_price": 0.0, "output_price": 1e6}


@pytest.mark.slow  # two runs; costs are capped in the tests of the endpoint's engine
def test_a_run_stops_at_its_cost_and_goes_on_with_a_higher_one(shop, tmp_path, caplog, capfd):
    caplog.set_level("INFO")
    with start_endpoint(lambda *_: "answer Toys", key=KEY) as endpoint:
        limited = {"max_cost": 50, "extra_body": {"max_tokens": 20}, **PRICES}
        with pytest.raises(
            BudgetSpentError, match=r"of `openai.max_cost` 50 is spent.*what was answered is kept"
        ) as caught:
            batch_infer.run(shop(endpoint, **limited))
        assert caught.value.exit_status == 3
        num_asked = len(endpoint.times)
        assert 30 < num_asked < 40
        config = shop(endpoint, **{**limited, "max_cost": 600})
        batch_infer.run(config)
        assert len(endpoint.times) == 40
        assert len(set(endpoint.questions)) == 40
        batch_infer.run(config)
        assert "predictions are up to date" in caplog.text
        evaluate.run(config)
    answers = read_answers(tmp_path, "shop/base")
    assert {row["prediction"] for row in answers.values()} == {encode("Toys")}
    assert {len(body["messages"]) for body in endpoint.bodies} == {2 + 2 * 2}
    manifest = json.loads((config.predictions_dir("base") / "manifest.json").read_text())
    assert manifest["details"]["spending"]["cost"] == manifest["details"]["spending"]["num_answers"] == 40
    assert manifest["details"]["few_shot"]["num_rows_by_examples"] == {"2": 40}
    assert not list(config.predictions_dir("base").parent.glob(".*"))
    assert not find_in_files(tmp_path, KEY)
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())


def test_the_key_is_in_no_log_of_ray(shop, ray_session):
    refusal = refuse(401, message=f"Incorrect API key provided: {KEY}")
    with start_endpoint(lambda *_: refusal) as endpoint, pytest.raises(UserError, match="HTTP 401") as caught:
        batch_infer.run(shop(endpoint))
    assert KEY not in str(caught.value)
    logs = Path(ray_session._private.worker._global_node.get_session_dir_path()) / "logs"
    assert not find_in_files(logs, KEY)


@pytest.mark.slow  # as one that stops at its cost
def test_a_quota_that_is_used_up_keeps_what_was_answered(shop):
    num_answered = []

    def behave(_number, _body):
        return (
            refuse(429, "insufficient_quota") if len(endpoint.times) > 20 else num_answered.append(1) or "answer Toys"
        )

    with start_endpoint(behave) as endpoint, pytest.raises(UserError, match=r"insufficient_quota.*goes on from there"):
        batch_infer.run(shop(endpoint))
    with start_endpoint(lambda *_: "answer Toys") as other:
        batch_infer.run(shop(endpoint).model_copy(update={"openai": shop(other).openai}))
    assert len(other.times) == 40  # another address is another model, for all that is known


def test_what_cannot_be_asked_is_refused_before_anything_starts(shop, monkeypatch):
    with start_endpoint() as endpoint:
        config = shop(endpoint)
        with pytest.raises(UserError, match=r"`openai.max_cost` needs `openai.input_price`"):
            batch_infer.run(shop(endpoint, max_cost=1))
        with pytest.raises(UserError, match="takes the limit of an answer's tokens away"):
            batch_infer.run(shop(endpoint, max_cost=1, extra_body={"max_tokens": None}, **PRICES))
        with pytest.raises(UserError, match=r"needs `openai.model`"):
            batch_infer.run(shop(endpoint, model=None))
        two = config.infer.model_copy(update={"models": ("base", "merged")})
        with pytest.raises(UserError, match=r"`infer.models` names 2 models"):
            batch_infer.run(config.model_copy(update={"infer": two}))
        with pytest.raises(UserError, match="answers no batch files"):
            build_api_engine(config.infer, Path(), ["m"])
        monkeypatch.delenv("SHOP_KEY")
        with pytest.raises(UserError, match="the environment variable SHOP_KEY is not set"):
            batch_infer.run(config)
        assert not endpoint.times


@pytest.mark.parametrize("given", [{"api_key_env": KEY}, {"base_url": f"https://u:{KEY}@x/v1"}, {"api_key": KEY}])
def test_a_key_where_none_belongs_is_refused_and_not_told(shop, given):
    with start_endpoint() as endpoint, pytest.raises(UserError, match=r"openai") as caught:
        shop(endpoint, **given)
    assert KEY not in str(caught.value)


@pytest.mark.slow  # a night with another engine
def test_a_night_asks_an_endpoint_and_commits_nothing_that_was_not_answered(tmp_path):
    night = Shop(tmp_path, num_products=12)
    with start_endpoint(lambda *_: "answer Kitchen") as endpoint:
        sections = {
            "infer": {"engine": "openai"},
            "enrich": {"max_quarantined_share": 1.0, "canary_rows": 0, "tasks": ["classification"]},
            "openai": {"base_url": endpoint.url, "model": "m", **PRICES, "extra_body": {"max_tokens": 20}},
        }
        digest = find_answering_model(night.config(**sections), "merged").digest
        with pytest.raises(BudgetSpentError, match=r"of `openai.max_cost` 25 is spent"):
            night.night(digest, **{**sections, "openai": {**sections["openai"], "max_cost": 25}})
        assert night.quarantine() == []
        stats = night.night(digest, **sections | {"openai": {**sections["openai"], "max_cost": 1000}})
    assert (stats["num_new"], stats["num_quarantined"]) == (12, 0)
    assert stats["spending"]["num_answers"] == stats["num_inferred"]
    assert {row["prediction"] for row in night.rows().values()} == {encode("Kitchen")}

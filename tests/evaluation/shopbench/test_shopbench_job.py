"""The whole road: a file in, scores, times and a report out."""

import json
import sys

import pyarrow.parquet as pq
import pytest

from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.jobs import shopbench

HELD = ("choices", "packs", "pairs")
"""Tasks whose answers no model can make unreadable, so long as decoding is held to their constraint."""
SIMULATED = {"engine": "simulated", "models": ["base"], "concurrency": 1}


@pytest.fixture
def configure(tmp_path, write_file, rows):
    """Build a config over a file of rows."""

    def configure(file_rows=None, infer=None, **section):
        path = write_file(rows if file_rows is None else file_rows)
        infer = infer or {"engine": "oracle", "models": ["base"]}
        return Config(name="bench", run_root=str(tmp_path / "runs"), shopbench={"path": path, **section}, infer=infer)

    return configure


def run(config):
    shopbench.run(config)
    return json.loads((config.run_dir / "shopbench.json").read_text())


def test_oracle_scores_one_everywhere(configure, capsys):
    config = configure(strategies={"plain": {}, "reminded": {"format_reminder": True}})
    results = run(config)
    for entry in results["contenders"].values():
        scores = entry["scores"]
        for one in (*scores["tasks"].values(), *scores["types"].values(), *scores["tracks"].values()):
            assert one["score"] == pytest.approx(1.0)
        assert scores["overall"]["score"] == pytest.approx(1.0)
        assert entry["times"]["5"]["num_questions"] == 36
        assert entry["times"]["5"]["is_within"]
    assert results["contenders"]["reminded"]["against_first"]["overall"]["p_adjusted"] == 1.0
    assert results["types"]["type_accuracy"] == 1.0
    shown = capsys.readouterr().out
    assert "Overall: plain 1.000, reminded 1.000; no difference is clear." in shown
    report = (config.run_dir / "shopbench.md").read_text()
    for word in ("| track 4 |", "| type ranking |", "| overall |", "four NVIDIA T4", "Type accuracy 1.0000"):
        assert word in report
    assert (
        "| titles | Translate the product title 'rote Tasse 0' into English. Output: | red mug with number 0 |"
        in report
    )
    assert (config.run_dir / "shopbench.html").stat().st_size > 1000


def test_rerun_asks_only_what_changed(configure, monkeypatch):
    run(configure(strategies={"plain": {}}))
    asked = []
    real = shopbench.ask.__globals__["answer_questions"]
    monkeypatch.setitem(shopbench.ask.__globals__, "answer_questions", lambda *words: asked.append(1) or real(*words))
    run(configure(strategies={"plain": {}}))
    assert not asked
    run(configure(strategies={"plain": {}, "thought": {"chain_of_thought": True}}))
    assert len(asked) == 1
    run(configure(strategies={"plain": {"constrained": False}, "thought": {"chain_of_thought": True}}))
    assert len(asked) == 2


def test_submission_is_scored_beside_the_strategies(configure, tmp_path):
    folder = tmp_path / "kit"
    folder.mkdir()
    lines = ["class UserModel:", "    def get_batch_size(self): return 16"]
    lines += ["    def batch_predict(self, batch, is_multiple_choice): return ['1'] * len(batch['prompt'])"]
    (folder / "user_config.py").write_text("\n".join(lines))
    results = run(configure(submission=str(folder)))
    scores = results["contenders"]["submission"]["scores"]
    assert scores["tracks"]["1"]["score"] == pytest.approx(0.5)
    assert scores["tasks"]["packs"]["score"] == 1.0
    assert list(results["contenders"]) == ["submission"]
    beside = run(configure(strategies={"plain": {}}, submission=str(folder)))
    assert beside["contenders"]["submission"]["against_first"]["tasks"]["colors"]["difference"] == -1.0
    assert list(beside["contenders"]) == ["plain", "submission"]


def test_hidden_file_is_answered_without_a_score(configure, rows, tmp_path):
    folder = tmp_path / "kit"
    folder.mkdir()
    lines = ["class UserModel:", "    def get_batch_size(self): return 16"]
    lines += ["    def batch_predict(self, batch, is_multiple_choice): return ['1'] * len(batch['prompt'])"]
    (folder / "user_config.py").write_text("\n".join(lines))
    hidden = [{"input_field": row["input_field"], "is_multiple_choice": row["is_multiple_choice"]} for row in rows]
    with pytest.raises(UserError, match=r"infer\.engine=oracle answers with gold targets, and the file has none"):
        run(configure(hidden))
    config = configure(hidden, submission=str(folder))
    results = run(config)
    assert results["types"] is None
    assert "scores" not in results["contenders"]["submission"]
    assert "36 questions answered; without gold there is no score." in (config.run_dir / "shopbench.md").read_text()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": None}, "`shopbench.path` is not set"),
        ({"path": "nowhere.jsonl"}, "no such file"),
        ({"strategies": {"submission": {}}, "submission": "kit"}, "the submission has this name"),
        ({"submission": "/nowhere"}, r"no models/user_config\.py"),
        ({"strategies": {"shown": {"examples_path": "nowhere.jsonl", "num_examples": 1}}}, "no such file"),
    ],
)
def test_trouble_ends_the_run_before_anybody_is_asked(configure, monkeypatch, changes, told):
    monkeypatch.setattr(shopbench, "ask", lambda *_: pytest.fail("somebody was asked"))
    with pytest.raises(UserError, match=told):
        run(configure(**changes))


def test_files_faults_are_in_the_report(configure, rows):
    broken = [*rows, rows[0], {**rows[1], "input_field": "Entity?", "metric": "macro f1"}]
    config = configure(broken).model_copy(update={"data": Config(name="x", data={"max_malformed_share": 0.1}).data})
    results = run(config)
    assert (results["read"]["num_malformed"], results["read"]["num_repeats"]) == (1, 1)
    report = (config.run_dir / "shopbench.md").read_text()
    assert "questions.jsonl:38: unknown `metric` 'macro f1'" in report.replace("\\", "")
    assert "questions.jsonl:37 repeats" in report


@pytest.mark.slow  # test_shopbench_prompts.py has the same without an engine
def test_engine_is_asked_by_the_text_alone(configure, rows, ray_session):  # noqa: ARG001
    """As published, and as the hidden test set has it: the same answers."""
    strategies = {"reminded": {"format_reminder": True, "chain_of_thought": True}}
    hidden = [{"input_field": row["input_field"], "is_multiple_choice": row["is_multiple_choice"]} for row in rows]
    said = []
    for some in (rows, hidden):
        config = configure(some, infer=SIMULATED, strategies=strategies)
        results = run(config)
        table = pq.read_table(config.run_dir / "shopbench" / "reminded" / "part-00000.parquet")
        texts = [one[0]["content"] for one in table["messages"].to_pylist()]
        said.append(dict(zip(texts, table["generated_text"].to_pylist(), strict=True)))
        assert not results["contenders"]["reminded"]["errors"]
    assert said[0] == said[1]
    assert len(said[0]) == 36
    assert {said[0][text] for text in said[0] if text.startswith("Which of these")} <= set("0123")


def test_rows_that_the_engine_refuses_are_wrong_and_named(configure, ray_session):  # noqa: ARG001
    config = configure(infer={**SIMULATED, "engine_kwargs": {"reject_on": "query 'tent 3'"}})
    entry = run(config)["contenders"]["plain"]
    assert [error.partition(": ")[2] for error in entry["errors"]] == ["engine: rejected on command"]
    assert "no answer from plain, counted as wrong" in (config.run_dir / "shopbench.md").read_text()
    refused = configure(
        infer={**SIMULATED, "engine_kwargs": {"reject_on": "t"}}, strategies={"plain": {"format_reminder": True}}
    )
    with pytest.raises(UserError, match="plain: no question has an answer; the first: engine: rejected on command"):
        run(refused)


CONFIG = """
name: own
run_root: {root}/runs
model: {{source: {model}}}
infer: {{models: [base], cpu_kvcache_gib: 1, engine_kwargs: {{dtype: float32}}}}
shopbench: {{strategies: {{short: {{format_reminder: true}}}}}}
ray: {{num_cpus: 4}}
"""


@pytest.mark.slow
def test_own_model_in_a_submission(configure, tmp_path, tiny_model_dir, starts_ray, starts_vllm):  # noqa: ARG001
    """The class that a submission may import starts Ray and the engine in the submission's process."""
    folder = tmp_path / "kit"
    (folder / "models").mkdir(parents=True)
    (folder / "own.yaml").write_text(CONFIG.format(root=tmp_path, model=tiny_model_dir))
    (folder / "models" / "user_config.py").write_text(
        "from functools import partial\n"
        "from eshop_ray.evaluation.shopbench.engine_model import ShopBenchModel\n"
        "UserModel = partial(ShopBenchModel, 'own.yaml', 'short')\n"
    )
    entry = run(configure(submission=str(folder), submission_python=sys.executable))["contenders"]["submission"]
    assert entry["times"]["5"]["num_questions"] == 36
    assert entry["scores"]["overall"]["num_rows"] == 36
    assert [entry["scores"]["tasks"][name]["num_unparsed"] for name in HELD] == [0, 0, 0]


@pytest.mark.slow
def test_vllm_answers_within_the_constraints(configure, tiny_model_dir, ray_session, starts_vllm):  # noqa: ARG001
    infer = {"models": ["base"], "cpu_kvcache_gib": 1, "engine_kwargs": {"dtype": "float32"}}
    config = configure(
        infer=infer, strategies={"plain": {}, "thought": {"chain_of_thought": True, "max_thought_tokens": 16}}
    )
    config = config.model_copy(update={"model": config.model.model_copy(update={"source": str(tiny_model_dir)})})
    results = run(config)
    for entry in results["contenders"].values():
        assert not entry["errors"]
        assert [entry["scores"]["tasks"][name]["num_unparsed"] for name in HELD] == [0, 0, 0]
        assert entry["start_seconds"] > 0

"""Points of a matrix: seeds together, tests on the same rows, and what `matrix.json` and the page say of them."""

import dataclasses
import json

import pytest

from eshop_ray.errors import UserError
from eshop_ray.evaluation.matrix.outcome import describe
from eshop_ray.evaluation.matrix.points import build_points, pick_best
from eshop_ray.evaluation.matrix.report import build_page, print_outcome, write_report
from eshop_ray.evaluation.significance import compare_pairs
from eshop_ray.reporting.render import to_markdown

NUM_RIGHT = {"zero-shot": 2, "few-shot": 5, "single": 30, "mixed": 28}
KEYS = {
    *("task", "metric", "split", "model", "strategy", "size", "seed", "pretrained", "score", "low", "high", "n"),
    *("num_examples", "example_choice", "p_vs_best", "train_seconds", "rows_per_second", "tokens_per_row"),
}


def answer_all(answer, runs, **more):
    for run in runs:
        for unit in run.units:
            num_right = 24 if run.model == "encoder" else NUM_RIGHT[run.strategy]
            speed = 100.0 if run.model == "encoder" else 10.0
            yield answer(run, unit, num_right + (run.size == 200), speed, **more)


def find(points, model, strategy, size, task="multiple_choice"):
    (point,) = (p for p in points if (p.unit.name, p.model, p.strategy, p.size) == (task, model, strategy, size))
    return point


def test_every_point_is_tested_against_the_best_of_its_task(make_config, plan, answer):
    config = make_config()
    points = build_points(config, answer_all(answer, plan(config)))
    best = find(points, "llm", "single", 200)
    assert best.behind is None
    assert best.score == 31 / 40
    base = find(points, "llm", "zero-shot", 0)
    alone = compare_pairs("accuracy", best.counts, base.counts, config.seed)
    assert base.behind["p_value"] == alone.p_value
    num_tests = sum(bool(test) for point in points for test in (point.behind, point.growth))
    assert base.behind["p_adjusted"] == pytest.approx(min(1.0, alone.p_value * num_tests), rel=0.2)
    assert best.growth["difference"] == pytest.approx(1 / 40)
    assert find(points, "llm", "single", 100).growth is None
    assert (best.train_seconds, base.train_seconds) == (20.0, 0.0)
    assert best.price_per_million == pytest.approx(100.0)
    assert {point.size for point in pick_best(p for p in points if p.unit == best.unit)} == {0, 200}


def test_a_model_that_keeps_adapters_apart_is_no_rival_of_those_adapters(make_config, plan, answer):
    config = make_config(strategies=["zero-shot", "single", "switched"], models=["llm"], sizes=[100])
    runs = plan(config)
    num_right = {"zero-shot": 2, "single": 30, "switched": 31}
    found = [answer(run, unit, num_right[run.strategy]) for run in runs for unit in run.units]
    points = build_points(config, found)
    assert find(points, "llm", "single", 100).behind is None
    assert find(points, "llm", "switched", 100).behind["difference"] == pytest.approx(-1 / 40)
    verdict = describe(config, runs[0].units, runs, points, {})["verdicts"]["multiple_choice"]
    assert "take the LLM tuned on it: 0.750 against 0.050 of the base LLM" in verdict
    assert "adapter for each task" not in verdict
    alone = build_points(config, [one for one in found if one.run.strategy != "single"])
    assert find(alone, "llm", "switched", 100).behind is None


def test_seeds_are_one_point_and_rows_stay_what_is_drawn(make_config, plan, answer):
    config = make_config(seeds=[1, 2], strategies=["zero-shot", "single"], models=["llm"], sizes=[100])
    runs = plan(config)
    found = [answer(run, unit, 20 if run.seed == 1 else 30) for run in runs for unit in run.units]
    points = build_points(config, found)
    single = find(points, "llm", "single", 100)
    assert [one.run.seed for one in single.answers] == [1, 2]
    assert single.score == 25 / 40
    assert find(points, "llm", "zero-shot", 0).behind["num_rows"] == 40


def test_a_model_that_began_untrained_is_never_the_best(make_config, plan, answer):
    config = make_config(strategies=["zero-shot", "single"], sizes=[100])
    runs = plan(config)
    found = [
        answer(run, unit, 40 if run.model == "encoder" else 10, pretrained=False) for run in runs for unit in run.units
    ]
    points = build_points(config, found)
    encoder = find(points, "encoder", "single", 100)
    assert not encoder.pretrained
    assert encoder.behind["difference"] < 0
    outcome = describe(config, [point.unit for point in points[:2]], runs, points, {})
    assert "take the encoder" not in outcome["verdicts"]["multiple_choice"]
    assert "Left out, since not pretrained: the encoder." in outcome["verdicts"]["multiple_choice"]


def test_clusters_count_as_one_observation(make_config, plan, answer):
    config = make_config(strategies=["zero-shot", "single"], models=["llm"], sizes=[100])
    clusters = [f"q{number // 4}" for number in range(40)]
    points = build_points(config, answer_all(answer, plan(config), clusters=clusters))
    assert {point.num_observations for point in points} == {10}
    assert {point.behind["num_clusters"] for point in points if point.behind} == {10}
    outcome = describe(config, [points[0].unit], [], points, {})
    assert "there is no verdict: 10 rows say little" in outcome["verdicts"]["multiple_choice"]


def test_other_rows_or_targets_are_refused(make_config, plan, answer):
    config = make_config(strategies=["zero-shot", "single"], models=["llm"], sizes=[100])
    good = list(answer_all(answer, plan(config)))
    for spoilt in (
        answer(good[-1].run, good[-1].unit, 3, num_rows=39),
        dataclasses.replace(good[-1], targets=["2"] * 40),
    ):
        with pytest.raises(
            UserError, match=r"llm\.zero-shot and llm\.single\.classification\.100\.seed0 answered different"
        ):
            build_points(config, [*good[:-1], spoilt])


@pytest.fixture
def outcome(make_config, plan, answer, units):
    """A matrix of which one run failed."""
    config = make_config()
    runs = plan(config)
    failed = {
        "encoder.single.classification.200.seed0": "encoder.single.classification.200.seed0 train-encoder: no room"
    }
    points = build_points(config, answer_all(answer, [run for run in runs if run.name not in failed]))
    return describe(config, units, runs, points, failed)


def test_what_programs_read(outcome):
    json.dumps(outcome)
    assert all(set(cell) >= KEYS for cell in outcome["cells"])
    assert len(outcome["cells"]) == 2 + 2 * 2 * 3 - 1
    (missing,) = outcome["missing"]
    assert (missing["task"], missing["model"], missing["size"]) == ("classification", "encoder", 200)
    assert "no room" in missing["reason"]
    assert outcome["one_model_share"] == {"mixed": pytest.approx(29 / 31)}
    verdict = outcome["verdicts"]["classification"]
    assert verdict.startswith("For classification take the ")
    assert "Not compared, since missing: the encoder after 200 rows." in verdict
    assert "Not compared" not in outcome["verdicts"]["multiple_choice"]
    best = [cell for cell in outcome["cells"] if cell["p_vs_best"] is None]
    assert [(cell["task"], cell["strategy"], cell["size"]) for cell in best] == [
        ("multiple_choice", "single", 200),
        ("classification", "single", 200),
    ]


def test_speed_of_exchanging_weights_is_that_of_all_rows_together(make_config, plan, answer, units):
    config = make_config(models=["llm"], sizes=[100], strategies=["single", "switched"])
    runs = plan(config)
    speeds = {"single": {"multiple_choice": 10.0, "classification": 5.0}, "switched": {}}
    found = [answer(run, unit, 20, speeds[run.strategy].get(unit.name, 6.0)) for run in runs for unit in run.units]
    outcome = describe(config, units, runs, build_points(config, found), {})
    assert outcome["switched_vs_dense"] == pytest.approx((1 / 10 + 1 / 5) / (2 / 6))
    assert outcome["switch_seconds"] is None
    exchanged = [
        dataclasses.replace(one, switch_seconds=0.25) if one.run.strategy == "switched" else one for one in found
    ]
    assert describe(config, units, runs, build_points(config, exchanged), {})["switch_seconds"] == 0.25
    alone = [one for one in found if one.run.strategy == "single"]
    assert describe(config, units, runs, build_points(config, alone), {})["switched_vs_dense"] is None


def test_a_share_without_all_tasks_is_no_share(make_config, plan, answer, units):
    config = make_config(models=["llm"], sizes=[100])
    runs = plan(config)
    lost = next(run for run in runs if run.strategy == "mixed")
    points = build_points(config, answer_all(answer, [run for run in runs if run is not lost]))
    assert describe(config, units, runs, points, {lost.name: "why"})["one_model_share"] == {}


def test_a_share_is_of_the_largest_size(make_config, plan, answer, units):
    config = make_config(models=["llm"])
    runs = plan(config)
    lost = next(run for run in runs if run.strategy == "mixed" and run.size == 200)
    points = build_points(config, answer_all(answer, [run for run in runs if run is not lost]))
    assert describe(config, units, runs, points, {lost.name: "why"})["one_model_share"] == {}


def test_models_that_know_nothing_keep_no_share(make_config, plan, answer, units):
    config = make_config(models=["llm"], sizes=[100])
    runs = plan(config)
    points = build_points(config, [answer(run, unit, 0) for run in runs for unit in run.units])
    assert describe(config, units, runs, points, {})["one_model_share"] == {}


def test_the_page_shows_everything(outcome, tmp_path, capsys):
    page = build_page("matrix", outcome)
    assert page.level == "attention"
    text = to_markdown(page)
    for wanted in (
        "take the ",
        "LLM single",
        "no room",
        "classification: score by training rows",
        "1 cell missing",
        "0.775",
    ):
        assert wanted in text
    html = write_report(tmp_path, outcome)
    assert html.read_text().count("<img") == 2
    assert "http" not in html.read_text().replace("http://www.w3.org", "")
    assert (tmp_path / "matrix.md").is_file()
    assert (tmp_path / "curve_1.svg").read_bytes().startswith(b"<?xml")
    print_outcome(outcome)
    assert "take the " in capsys.readouterr().out


def test_examples_in_prompts_are_points_of_their_own(make_config, plan, answer, units):
    config = make_config(strategies=["zero-shot", "few-shot"], models=["llm"], num_examples=[4, 1])
    config = config.model_copy(update={"few_shot": config.few_shot.model_copy(update={"choice": "similar"})})
    runs = plan(config)
    found = [answer(run, unit, 5 + run.num_examples) for run in runs for unit in run.units]
    outcome = describe(config, units, runs, build_points(config, found), {"llm.few-shot.k1": "killed"})
    own = [cell for cell in outcome["cells"] if cell["task"] == "classification"]
    ways = [(cell["num_examples"], cell["example_choice"], cell["score"]) for cell in own]
    assert ways == [(0, None, 5 / 40), (4, "similar", 9 / 40), (1, "similar", 6 / 40)]
    assert outcome["missing"][0]["num_examples"] == 1
    text = to_markdown(build_page("matrix", outcome))
    assert "| task | choice | 0 examples | 1 example | 4 examples |" in text
    assert "LLM few-shot, 1 similar" in text
    assert "0.225 against 0.125 of the base LLM," in outcome["verdicts"]["classification"]


def test_what_training_has_seen_stands_on_the_page(outcome):
    assert "Seen in training" not in to_markdown(build_page("matrix", outcome))
    one = {"num_rows": 40, "num_equal": 1, "num_near": 0, "num_elsewhere": 0, "elsewhere": {}, "examples": ["r1"]}
    page = build_page("matrix", {**outcome, "seen_in_training": {"classification": one}})
    assert "| classification | 40 | 1 | 0 | 0 |" in to_markdown(page)


def test_few_rows_are_marked(make_config, plan, answer, units):
    config = make_config(strategies=["zero-shot"], models=["llm"])
    points = build_points(config, (answer(run, unit, 9, num_rows=20) for run in plan(config) for unit in run.units))
    text = to_markdown(build_page("matrix", describe(config, units, plan(config), points, {})))
    assert "20\\*" in text
    assert "below 30: its scores say little" in text

"""Scores: failed rows count as wrong, groups are averaged, the base stands beside the tuned model."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.artifacts import Manifest
from eshop_ray.errors import UserError
from eshop_ray.evaluation.evaluate import compare_with_base, evaluate_predictions, score_group
from eshop_ray.evaluation.report import HEADER, build_page, build_rows
from eshop_ray.evaluation.tally import tally_groups
from eshop_ray.reporting.render import to_markdown
from eshop_ray.schema import PREDICTION_SCHEMA, encode

MANIFEST = Manifest("predictions", "", {}, "", {"model_dir": "m", "engine": "oracle", "split": "dev"})


def row(row_id, target, prediction, **values):
    defaults = {"task": "multiple_choice", "group": "quiz", "metric": "accuracy", "error": None}
    coded = None if prediction is None else encode(prediction)
    return {**defaults, "id": row_id, "target": encode(target), "prediction": coded, **values}


def write(folder, rows):
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), folder / "part-0.parquet")
    (folder / "manifest.json").write_text("{}")


def test_failed_and_unparsed_rows_count_as_wrong_and_are_counted():
    rows = [row("a", 1, 1), row("b", 2, -1), row("c", 0, None, error="engine: too long"), row("d", 3, 3)]
    group = score_group(rows)
    assert group["score"] == 0.5
    assert (group["num_rows"], group["num_errors"], group["num_unparsed"]) == (4, 1, 1)


def test_group_of_two_metrics_is_refused():
    with pytest.raises(UserError, match="`quiz` mixes the metrics accuracy, ndcg"):
        score_group([row("a", 1, 1), row("b", 1, 1, metric="ndcg")])


def test_run_score_is_the_mean_over_groups_not_rows(tmp_path):
    write(tmp_path, [row("a", 1, 1), row("b", 1, 1), row("c", 1, 1), row("d", 1, 0, group="hard")])
    metrics = evaluate_predictions(tally_groups(tmp_path), MANIFEST)
    assert metrics["score"] == 0.5
    assert {name: group["num_rows"] for name, group in metrics["groups"].items()} == {"quiz": 3, "hard": 1}
    assert (metrics["model"], metrics["engine"], metrics["split"]) == ("m", "oracle", "dev")


def test_no_predictions_is_an_error(tmp_path):
    write(tmp_path, [])
    with pytest.raises(UserError, match="run `eshop batch-infer` again"):
        evaluate_predictions(tally_groups(tmp_path), MANIFEST)


def test_report_shows_the_difference_and_answers(tmp_path):
    write(tmp_path, [row("a", 1, 1), row("b", 2, None, error="engine: a | b\nc")])
    tuned = evaluate_predictions(tally_groups(tmp_path), MANIFEST)
    base = {"score": 0.25, "groups": {"quiz": {"score": 0.25}}}
    rows = build_rows(tuned, base)
    assert rows[0] == ("quiz", "accuracy", "2*", "0.250", "0.500", "+0.250", "", "", "1", "0")
    report = to_markdown(build_page("demo", rows, tuned, tmp_path, None))
    assert "engine: a \\| b c" in report
    assert all(line.count(" | ") == len(HEADER) - 1 for line in report.split("\n") if line.startswith("| quiz"))


def test_differences_from_the_base_are_tested_in_pairs_and_corrected_for_all_groups(tmp_path):
    """Seven rows more and one less: p = 0.07 by itself."""
    folders = {name: tmp_path / name for name in ("tuned", "base")}
    right = {"tuned": [1] * 37 + [0] + [1] * 2, "base": [1] * 30 + [0] * 7 + [1] * 3}
    for name, folder in folders.items():
        folder.mkdir()
        write(
            folder, [row(f"{n:02}", 1, one, group=group) for group in ("a", "b") for n, one in enumerate(right[name])]
        )
    tallies = {name: tally_groups(folder) for name, folder in folders.items()}
    metrics = evaluate_predictions(tallies["tuned"], MANIFEST)
    compare_with_base(metrics, tallies["tuned"], tallies["base"], seed=0)
    test = metrics["groups"]["a"]["against_base"]
    assert (test["test"], test["num_better"], test["num_worse"]) == ("mcnemar", 7, 1)
    assert (test["p_value"], test["p_adjusted"]) == pytest.approx((0.0703, 0.1406), abs=1e-4)
    rows = build_rows(metrics, evaluate_predictions(tallies["base"], MANIFEST))
    assert rows[0][:7] == ("a", "accuracy", "40", "0.825", "0.975", "+0.150", "0.141")
    report = to_markdown(build_page("demo", rows, metrics, folders["tuned"], None))
    assert "a test paired by row, corrected for all groups" in report
    assert "asterisk" not in report


def test_rows_of_one_query_are_one_observation(tmp_path):
    folders = {name: tmp_path / name for name in ("tuned", "base")}
    for name, answer in (("tuned", 1), ("base", 0)):
        folders[name].mkdir()
        write(folders[name], [row(f"{n:02}", 1, answer) for n in range(40)])
    tallies = {name: tally_groups(folder) for name, folder in folders.items()}
    metrics = evaluate_predictions(tallies["tuned"], MANIFEST)
    clusters = {("multiple_choice", f"{n:02}"): f"query {n // 10}" for n in range(40)}
    compare_with_base(metrics, tallies["tuned"], tallies["base"], 0, clusters)
    test = metrics["groups"]["quiz"]["against_base"]
    assert (test["test"], test["num_rows"], test["num_clusters"]) == ("randomization", 40, 4)
    assert test["p_value"] > 0.1


def test_missing_base_leaves_its_columns_empty(tmp_path):
    write(tmp_path, [row("a", 1, 1)])
    assert build_rows(evaluate_predictions(tally_groups(tmp_path), MANIFEST), None)[0][3:6] == ("", "1.000", "")

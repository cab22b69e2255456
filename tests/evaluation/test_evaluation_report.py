"""The report of an evaluation: the comparison, how the model was trained, in Markdown and as one HTML page."""

import base64
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.evaluation.curves import draw_held_out, draw_training, smooth
from eshop_ray.evaluation.report import build_rows, write_report
from eshop_ray.schema import PREDICTION_SCHEMA, encode

TASKS = ("classification", "generation", "ner", "ranking", "retrieval", "titles", "a", "b", "c", "d")


def make_training(num_steps=40, tasks=TASKS, **values):
    """The content of a `training.json`; every tenth step is a checkpoint, the one before the last is kept."""
    steps = range(10, num_steps + 1, 10) if tasks else ()
    held_out = [{"step": step, "losses": dict.fromkeys(tasks, 9 / step), "mean": 9 / step} for step in steps]
    losses = [2 / step for step in range(1, num_steps + 1)]
    training = {"method": "lora", "num_rows": 1280, "num_steps": num_steps, "seconds": 64.0, "best_step": None}
    training |= {"num_cut": 0, "num_too_long": 0, "num_errors": 0, "held_out": held_out, "losses": losses}
    best = {"best_step": held_out[-2]["step"]} if held_out else {}
    return {**training, "learning_rates": [5e-4] * num_steps, **best, **values}


def make_metrics(score, num_errors=0):
    group = {"metric": "accuracy", "score": score, "num_rows": 2, "num_errors": num_errors, "num_unparsed": 0}
    return {"split": "dev", "engine": "oracle", "score": score, "groups": {"quiz": group}}


@pytest.fixture
def run_dir(tmp_path):
    """A run with predictions and an adapter of which nothing is told."""
    folder = tmp_path / "demo"
    (folder / "predictions").mkdir(parents=True)
    (folder / "adapter").mkdir()
    row = {"id": "a", "task": "multiple_choice", "group": "quiz", "metric": "accuracy", "target": encode(1)}
    rows = [{**row, "prediction": encode(1)}, {**row, "id": "b", "error": "parse: <b>| no number"}]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), folder / "predictions" / "part-0.parquet")
    return folder


def write(run_dir, training=None, tuned=0.5, base=0.25, num_errors=0):
    """Write the report and return its two texts."""
    if training:
        (run_dir / "adapter" / "training.json").write_text(json.dumps(training))
    metrics = make_metrics(tuned, num_errors)
    rows = build_rows(metrics, None if base is None else make_metrics(base))
    page = write_report(run_dir, rows, metrics, run_dir / "predictions")
    return (run_dir / "report.md").read_text(), page.read_text()


def read_labels(svg):
    """The texts of a chart, which is drawn from paths: matplotlib leaves each as a comment."""
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    return re.findall(r"<!-- (.*?) -->", svg.decode())


@pytest.mark.parametrize(
    ("scores", "level", "sentence"),
    [
        ({"tuned": 0.5}, "well", "Mean score 0.500, +0.250 against the base's 0.250."),
        ({"tuned": 0.5, "base": None}, "well", "Mean score 0.500."),
        ({"tuned": 0.1}, "attention", "Mean score 0.100, -0.150 against the base's 0.250."),
        (
            {"tuned": 0.5, "num_errors": 1},
            "attention",
            "Mean score 0.500, +0.250 against the base's 0.250; 1 row failed and count as wrong.",
        ),
    ],
)
def test_first_sentence_says_how_good_the_model_is(run_dir, scores, level, sentence):
    markdown, page = write(run_dir, **scores)
    assert markdown.splitlines()[:3] == ["# demo", "", f"**{sentence}**"]
    assert f'<p class="verdict {level}">' in page


def test_training_is_told_and_shown_in_both_forms(run_dir):
    training = make_training(num_cut=12, num_too_long=3, num_errors=1, num_epochs=2)
    markdown, page = write(run_dir, training)
    assert (
        "Method `lora`: 1,280 rows in 40 steps, 1 min 04 s, 40.0 rows a second; 12 cut to fit; "
        "3 left out because too long; 1 left out because of errors."
    ) in markdown
    assert "Kept: the checkpoint of step 30, " in markdown
    for name in ("training.svg", "held_out.svg"):
        assert f"]({name})" in markdown
        assert base64.b64encode((run_dir / name).read_bytes()).decode() in page
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)


def test_rows_that_training_has_seen_are_told(run_dir):
    seen = {"quiz": {"num_rows": 1200, "num_equal": 0, "num_near": 2, "num_elsewhere": 3}}
    seen["quiz"] |= {"elsewhere": {"ner": 1, "pairs": 2}, "examples": ["q7", "q9"]}
    metrics = {**make_metrics(0.5), "seen_in_training": seen}
    write_report(run_dir, build_rows(metrics, None), metrics, run_dir / "predictions")
    report = (run_dir / "report.md").read_text()
    assert "| quiz | 1,200 | 0 | 2 | 3 |" in report
    assert "| quiz | 1 in ner, 2 in pairs | q7, q9 |" in report
    assert "Seen in training" not in write(run_dir)[1]


def test_text_of_the_data_does_not_break_the_page(run_dir):
    markdown, page = write(run_dir)
    assert "| b | 1 | None | parse: \\<b\\>\\| no number |" in markdown
    assert "parse: &lt;b&gt;| no number" in page


def test_adapter_from_elsewhere_has_no_training_and_leaves_no_old_picture(run_dir):
    write(run_dir, make_training())
    (run_dir / "adapter" / "training.json").unlink()
    markdown, page = write(run_dir)
    assert "Training" not in markdown + page
    assert not list(run_dir.glob("*.svg"))


def test_training_without_held_out_rows_has_one_chart(run_dir):
    markdown, page = write(run_dir, make_training(tasks=(), best_step=40))
    assert "Kept" not in markdown
    assert page.count("<img") == 1
    assert [path.name for path in run_dir.glob("*.svg")] == ["training.svg"]
    assert "kept" not in read_labels((run_dir / "training.svg").read_bytes())


def test_every_task_has_its_chart_with_the_loss_that_was_kept():
    labels = read_labels(draw_held_out(make_training()))
    assert [f"{task}: 0.300" for task in sorted(TASKS)] == [label for label in labels if ": " in label]


def test_charts_name_their_axes_and_what_was_kept():
    labels = read_labels(draw_training(make_training()))
    for words in ("loss per answer token", "learning rate", "step", "held out, mean of tasks", "kept", "0.0005"):
        assert words in labels


@pytest.mark.parametrize(
    ("losses", "is_log"), [(np.geomspace(4, 0.01, 90), True), (np.linspace(2.5, 1, 90), False), (np.zeros(90), False)]
)
def test_axis_fits_the_range_of_the_loss(losses, is_log):
    labels = read_labels(draw_training(make_training(90, tasks=(), losses=losses.tolist())))
    assert ("0.05" in labels and "2" in labels) == is_log


@pytest.mark.parametrize("num_steps", [0, 1])
def test_too_few_steps_make_no_curve(num_steps):
    assert draw_training(make_training(num_steps, tasks=())) is None


def test_long_training_makes_a_small_picture():
    noisy = np.random.default_rng(0).uniform(0.5, 1.5, 60_000).tolist()
    assert len(draw_training(make_training(60_000, tasks=(), losses=noisy))) < 200_000


def test_smoothing_keeps_the_mean_and_the_ends():
    assert smooth(np.full(500, 2.0)) == pytest.approx(np.full(500, 2.0))
    assert smooth(np.arange(300.0))[5:-5] == pytest.approx(np.arange(300.0)[5:-5])
    assert smooth(np.array([3.0, 1.0])) == pytest.approx([3.0, 1.0])


def test_same_numbers_same_bytes():
    assert draw_training(make_training()) == draw_training(make_training())

"""Scores as a person reads them: a table on the terminal, `report.md`, and `report.html` that needs no other file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eshop_ray.evaluation.curves import Training, draw_held_out, draw_training
from eshop_ray.evaluation.entity_errors import KINDS
from eshop_ray.evaluation.evaluate import read_groups
from eshop_ray.evaluation.seen_table import show_seen
from eshop_ray.evaluation.significance import note_few_rows, write_num_rows, write_p_value
from eshop_ray.evaluation.text_tables import show_text_errors
from eshop_ray.reporting.page import Chart, Level, Page, Section, Table, clean_text, code
from eshop_ray.reporting.render import write_page
from eshop_ray.reporting.terminal import print_table
from eshop_ray.reporting.words import count, format_seconds
from eshop_ray.schema import decode

Metrics = Mapping[str, Any]
"""The content of a `metrics.json`."""

PICTURES = {
    "training.svg": (draw_training, "Loss and learning rate by step"),
    "held_out.svg": (draw_held_out, "Held-out loss by task"),
}
"""Name beside `report.md` -> what draws it, and what it shows."""
NUM_EXAMPLES = 3
"""Answers shown per group."""

HEADER = ("group", "metric", "rows", "base", "tuned", "difference", "p", "could show", "failed", "unparsed")
"""p is that of a paired test, corrected for all groups; such rows could show a difference of so much."""


def build_rows(tuned: Metrics, base: Metrics | None) -> list[tuple[str, ...]]:
    """Return one row of text per group, columns as in `HEADER`, and the mean over groups last."""
    rows = []
    for name, group in tuned["groups"].items():
        before = base["groups"].get(name, {}).get("score") if base else None
        counts = (str(group["num_errors"]), str(group["num_unparsed"]))
        test = group.get("against_base")
        p_value = write_p_value(test["p_adjusted"]) if test else ""
        detectable = f"{test['detectable']:.3f}" if test and test["detectable"] else ""
        num_rows = write_num_rows(group["num_rows"])
        compared = _compare(before, group["score"])
        rows.append((name, group["metric"], num_rows, *compared, p_value, detectable, *counts))
    mean = _compare(base["score"] if base else None, tuned["score"])
    return [
        *rows,
        ("mean", "", str(sum(group["num_rows"] for group in tuned["groups"].values())), *mean, "", "", "", ""),
    ]


def print_scores(rows: Sequence[Sequence[str]], title: str) -> None:
    """Print the comparison."""
    print_table(_tabulate(rows), title, bold=["mean"])


def write_report(
    run_dir: Path, rows: Sequence[Sequence[str]], tuned: Metrics, predictions_dir: Path, trained: str = "adapter"
) -> Path:
    """Write `report.md`, the pictures that it shows, and `report.html` into the run directory.

    Args:
        run_dir: Of the run; its name is the title.
        rows: From `build_rows`.
        tuned: Metrics of the model that the report is about.
        predictions_dir: That model's answers, a few of which are shown.
        trained: Folder in the run directory of what was trained; where it tells how, so does the report.

    Returns:
        The HTML file.
    """
    page = build_page(run_dir.name, rows, tuned, predictions_dir, read_training(run_dir / trained))
    return write_page(page, run_dir, "report", PICTURES)


def read_training(folder: Path) -> Training | None:
    """Return what is known of the training of a folder's model; None for one from elsewhere."""
    try:
        training: Training = json.loads((folder / "training.json").read_text())
    except FileNotFoundError:
        return None
    return training


def build_page(
    name: str, rows: Sequence[Sequence[str]], tuned: Metrics, predictions_dir: Path, training: Training | None
) -> Page:
    """Put the report together: the comparison, the training, then answers to look at before believing it."""
    level, sentence = _judge(dict(zip(HEADER, rows[-1], strict=True)), tuned)
    sentences = [f"Split {code(tuned['split'])}, engine {code(tuned['engine'])}."]
    if not tuned.get("pretrained", True):
        sentences.append(
            "The model began with random weights (`pretrained: false`): its scores say nothing of its kind."
        )
    sentences += _word_examples(tuned["few_shot"]) if "few_shot" in tuned else []
    if any("against_base" in group for group in tuned["groups"].values()):
        sentences.append(
            "p is the chance of such a difference, or a larger one, between models that are equally good: a test "
            "paired by row, corrected for all groups. Four out of five such samples would show a difference as large "
            "as the next column says."
        )
    sentences += note_few_rows(group["num_rows"] for group in tuned["groups"].values())
    sections = [Section("Scores", sentences, [_tabulate(rows)])]
    errors = {name: group["entity_errors"] for name, group in tuned["groups"].items() if "entity_errors" in group}
    sections += [_show_entity_errors(errors)] if errors else []
    texts = [((name,), group["text_errors"]) for name, group in tuned["groups"].items() if "text_errors" in group]
    sections += [show_text_errors(texts, ("group",))] if texts else []
    sections += [show_seen(tuned["seen_in_training"])] if tuned.get("seen_in_training") else []
    sections += [_describe_training(training)] if training else []
    return Page(name, level, sentence, [*sections, *_show_answers(predictions_dir)])


def _word_examples(few_shot: Mapping[str, Any]) -> list[str]:
    wanted, rows = few_shot["num_examples"], few_shot["num_rows_by_examples"]
    num_fewer = sum(number for examples, number in rows.items() if int(examples) < wanted)
    fewer = f", {count(num_fewer, 'row')} with fewer" if num_fewer else ""
    notes = [f"{clean_text(note[:1].upper() + note[1:])}." for note in few_shot["notes"]]
    return [f"{count(wanted, 'example')} in each prompt, choice {code(few_shot['choice'])}{fewer}.", *notes]


def _tabulate(rows: Sequence[Sequence[str]]) -> Table:
    return Table(HEADER, rows, num_text=2)


def _compare(before: float | None, after: float) -> Iterator[str]:
    yield "" if before is None else f"{before:.3f}"
    yield f"{after:.3f}"
    yield "" if before is None else f"{after - before:+.3f}"


def _judge(mean: Mapping[str, str], tuned: Metrics) -> tuple[Level, str]:
    """Say in one sentence how good the model is, and whether a look is due: worse than its base, or failed rows."""
    num_errors = sum(group["num_errors"] for group in tuned["groups"].values())
    compared = f", {mean['difference']} against the base's {mean['base']}" if mean["base"] else ""
    failed = f"; {count(num_errors, 'row')} failed and count as wrong" if num_errors else ""
    level: Level = "attention" if num_errors or mean["difference"].startswith("-") else "well"
    return level, f"Mean score {mean['tuned']}{compared}{failed}."


def _show_entity_errors(errors: Mapping[str, Mapping[str, Any]]) -> Section:
    kinds = Table(
        ("group", *KINDS),
        [(name, *(f"{one['kinds'][kind]:,}" for kind in KINDS)) for name, one in errors.items()],
    )
    confusions = Table(
        ("group", "type", "taken for", "times"),
        [
            (name, pair["target"], pair["found"], f"{pair['count']:,}")
            for name, one in errors.items()
            for pair in one["confusions"]
        ],
        num_text=3,
    )
    sentence = (
        "Each entity counts once: one that overlaps one of the target is not missed, but wrong in type or boundary."
    )
    return Section("Errors of entities", [sentence], [kinds, confusions] if confusions.rows else [kinds])


def _describe_training(training: Training) -> Section:
    charts = [Chart(partial(draw, training), caption, file) for file, (draw, caption) in PICTURES.items()]
    return Section("Training", list(_word_training(training)), charts=charts)


def _word_training(training: Training) -> Iterator[str]:
    num_rows, seconds = training["num_rows"], training["seconds"]
    speed = f", {num_rows * training.get('num_epochs', 1) / seconds:,.1f} rows a second" if seconds else ""
    counts = f"{count(num_rows, 'row')} in {count(training['num_steps'], 'step')}, {format_seconds(seconds)}{speed}"
    reasons = {
        "cut to fit": training["num_cut"],
        "left out because too long": training["num_too_long"],
        "left out because of errors": training["num_errors"],
        "left out for want of an answer": training.get("num_unanswered", 0),
    }
    trouble = "".join(f"; {number:,} {reason}" for reason, number in reasons.items() if number)
    yield f"Method {code(training['method'])}: {counts}{trouble}."
    kept = next((point for point in training["held_out"] if point["step"] == training["best_step"]), None)
    if kept:
        yield (
            f"Kept: the checkpoint of step {kept['step']:,}, whose held-out loss per answer token, the mean over the "
            f"tasks, is {kept['mean']:.3f}."
        )


def _show_answers(predictions_dir: Path) -> Iterator[Section]:
    header = ("id", "target", "prediction", "error")
    for group, members in read_groups(predictions_dir):
        rows = [
            (row["id"], str(decode(row["target"])), str(decode(row["prediction"])), row["error"] or "")
            for row in members[:NUM_EXAMPLES]
        ]
        yield Section(f"Answers: {clean_text(group)}", tables=[Table(header, rows, num_text=len(header))])

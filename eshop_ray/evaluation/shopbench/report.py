"""A run of the benchmark as a person reads it: scores, time against budgets, types, and faults of the file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eshop_ray.evaluation.shopbench.results import Results
from eshop_ray.evaluation.shopbench.scores import OVERALL
from eshop_ray.evaluation.shopbench.task_types import TASK_TYPES
from eshop_ray.evaluation.shopbench.tracks import ALL_AROUND, NAMES, SECONDS_PER_SAMPLE
from eshop_ray.evaluation.significance import SIGNIFICANT, note_few_rows, write_num_rows, write_p_value
from eshop_ray.reporting.page import Level, Page, Section, Table, code
from eshop_ray.reporting.render import write_page
from eshop_ray.reporting.terminal import print_table
from eshop_ray.reporting.words import NONE, count

NAME = "shopbench"
"""Of the files, before their endings."""

_OVERALL_TRACK = {str(track): f"track {track}" for track in (*NAMES, ALL_AROUND)} | {"none": "no track"}


def write_report(results: Results, folder: Path) -> Path:
    """Write `shopbench.md` and `shopbench.html`, and return the latter."""
    sections = [*_show_scores(results), _show_times(results), *_show_types(results), _show_file(results)]
    sections.append(_show_examples(results))
    level: Level = "attention" if _find_trouble(results) else "well"
    return write_page(Page("ShopBench", level, word_verdict(results), sections), folder, NAME)


def print_results(results: Results) -> None:
    """Print scores, times and the accuracy of types."""
    if _has_scores(results):
        print_table(tabulate_scores(results), word_verdict(results), bold=[OVERALL])
        if len(results["contenders"]) > 1:
            print_table(tabulate_tests(results), "Against the first, on the same rows", bold=[OVERALL])
        print_table(tabulate_types(results), _word_types(results["types"]))
    print_table(tabulate_times(results), "Time against the competition's budgets")


def word_verdict(results: Results) -> str:
    """Say in one sentence who is how good, and whether the differences are more than chance."""
    if not _has_scores(results):
        return f"{count(results['read']['num_asked'], 'question')} answered; without gold there is no score."
    names = list(results["contenders"])
    told = [f"{name} {results['contenders'][name]['scores'][OVERALL]['score']:.3f}" for name in names]
    tests = {name: results["contenders"][name]["against_first"][OVERALL] for name in names[1:]}
    clear = [name for name, test in tests.items() if test["p_adjusted"] < SIGNIFICANT]
    words = ""
    if len(names) > 1:
        words = f"; clearly apart from {names[0]}: {', '.join(clear)}" if clear else "; no difference is clear"
    return f"Overall: {', '.join(told)}{words}."


def tabulate_scores(results: Results) -> Table:
    """Return a row for each task, type and track, and the overall one, with each contender's score and interval."""
    contenders = {name: entry["scores"] for name, entry in results["contenders"].items()}
    first = next(iter(contenders.values()))
    rows = []
    for name, task in first["tasks"].items():
        track = NONE if task["track"] is None else str(task["track"])
        rows.append((name, track, task["metric"], *_write_row(contenders, "tasks", name)))
    rows += [(f"type {name}", "", "", *_write_row(contenders, "types", name)) for name in first["types"]]
    rows += [(_OVERALL_TRACK[name], "", "", *_write_row(contenders, "tracks", name)) for name in first["tracks"]]
    cells = (_write_score(scores[OVERALL]) for scores in contenders.values())
    rows.append((OVERALL, "", "", write_num_rows(first[OVERALL]["num_rows"]), *cells))
    return Table(("task", "track", "metric", "rows", *contenders), rows, num_text=3)


def tabulate_tests(results: Results) -> Table:
    """Return a row for each contender but the first, and each task."""
    rows = []
    for name, entry in list(results["contenders"].items())[1:]:
        for task, test in entry["against_first"]["tasks"].items():
            detectable = f"{test['detectable']:.3f}" if test["detectable"] else NONE
            sides = (f"{test['num_better']:,}", f"{test['num_worse']:,}")
            rows.append((name, task, write_num_rows(test["num_rows"]), *_write_test(test), *sides, detectable))
        overall = entry["against_first"][OVERALL]
        num_rows = write_num_rows(entry["scores"][OVERALL]["num_rows"])
        rows.append((name, OVERALL, num_rows, *_write_test(overall), "", "", ""))
    header = ("contender", "task", "rows", "difference", "p", "better", "worse", "could show")
    return Table(header, rows, num_text=2)


def tabulate_times(results: Results) -> Table:
    """Return a row for each contender and track."""
    rows = []
    for name, entry in results["contenders"].items():
        for track, one in entry["times"].items():
            budget = one["budget_seconds"]
            cells = (
                f"{one['num_questions']:,}",
                f"{one['num_batches']:,}",
                f"{one['seconds']:.1f}",
                NONE if budget is None else f"{budget:.0f}",
                NONE if one["is_within"] is None else ("yes" if one["is_within"] else "no"),
                f"{one['num_over_limit']:,}",
                f"{one['longest_seconds_per_sample']:.2f}",
            )
            rows.append((name, _OVERALL_TRACK[track], *cells))
    header = ("contender", "track", "questions", "batches", "seconds", "budget", "within", "over limit", "slowest")
    return Table(header, rows, num_text=2)


def tabulate_types(results: Results) -> Table:
    """Return the confusion of types: a row for each true one."""
    confusion: Mapping[str, Mapping[str, int]] = results["types"]["confusion"]
    rows = [
        (name, f"{sum(counts.values()):,}", *(f"{counts.get(other, 0):,}" for other in TASK_TYPES))
        for name, counts in confusion.items()
    ]
    return Table(("true type", "rows", *TASK_TYPES), rows)


def _has_scores(results: Results) -> bool:
    return results["types"] is not None


def _find_trouble(results: Results) -> bool:
    entries = results["contenders"].values()
    left_out = results["read"]["num_malformed"] + results["read"]["num_repeats"]
    late = any(one["is_within"] is False for entry in entries for one in entry["times"].values())
    return bool(left_out) or late or any(entry["errors"] for entry in entries)


def _show_scores(results: Results) -> Iterator[Section]:
    if not _has_scores(results):
        return
    read = results["read"]
    sentences = [
        f"File {code(results['file'])}; model {code(results['model'])}, engine {code(results['engine'])}; "
        f"{count(read['num_asked'], 'question')} asked of {read['num_questions']:,}.",
        "A track is the mean over its tasks, overall the mean over tracks, a type the mean over its tasks. In brackets "
        "the 95 % interval: rows of each task are drawn again.",
    ]
    first = next(iter(results["contenders"].values()))["scores"]
    sentences += note_few_rows(task["num_rows"] for task in first["tasks"].values())
    yield Section("Scores", sentences, [tabulate_scores(results)])
    if len(results["contenders"]) > 1:
        sentence = (
            "Each is compared with the first on the same rows. p is the chance of such a difference, or a larger one, "
            "between prompts that are equally good, corrected for all tasks; four out of five such samples would show "
            "a difference as large as the last column says."
        )
        yield Section("Differences", [sentence], [tabulate_tests(results)])


def _show_times(results: Results) -> Section:
    sentences = [
        "Seconds are wall time, the start included, as each track is a run of its own in the competition. Its budgets "
        "are for four NVIDIA T4 and all questions of the hidden test set.",
        f"A batch is over the limit if it took more than {SECONDS_PER_SAMPLE:g} seconds for each of its questions; "
        "the last column has the seconds per question of the slowest batch. Such a batch ends a submission, so a track "
        "with one is not within its budget.",
    ]
    return Section("Time", sentences, [tabulate_times(results)])


def _show_types(results: Results) -> Iterator[Section]:
    if results["types"] is not None:
        wrong = results["types"]["wrong"]
        sentences = [_word_types(results["types"])] + ([f"Wrong, for instance: {', '.join(wrong)}."] if wrong else [])
        yield Section("Types inferred from the prompts", sentences, [tabulate_types(results)])


def _word_types(types: Mapping[str, Any]) -> str:
    interval = f"[{types['low']:.4f}, {types['high']:.4f}]"
    return f"Type accuracy {types['type_accuracy']:.4f} {interval} on {count(types['num_rows'], 'question')}."


def _show_file(results: Results) -> Section:
    read = results["read"]
    rows = [
        ("rows", read["num_rows"], ()),
        ("malformed, left out", read["num_malformed"], read["malformed"]),
        ("repeated, left out", read["num_repeats"], read["repeats"]),
        ("of these, with another answer", read["num_repeats_with_another_answer"], ()),
        ("mended", read["num_repaired"], ()),
    ]
    for name, entry in results["contenders"].items():
        rows.append((f"no answer from {name}, counted as wrong", len(entry["errors"]), entry["errors"]))
        if "scores" in entry:
            unparsed = sum(task["num_unparsed"] for task in entry["scores"]["tasks"].values())
            rows.append((f"unreadable answers of {name}, counted as wrong", unparsed, ()))
    cells = [(what, "; ".join(such[:3]), f"{number:,}") for what, number, such in rows]
    table = Table(("what", "such as", "rows"), cells, num_text=2)
    return Section("The file", tables=[table])


def _show_examples(results: Results) -> Section:
    rows = [
        (one["task"], one["question"], str(one["target"]), *(text or "" for text in one["answers"].values()))
        for one in results["examples"]
    ]
    header = ("task", "question", "target", *results["contenders"])
    return Section("The first question of each task", tables=[Table(header, rows, num_text=len(header))])


def _write_row(contenders: Mapping[str, Any], kind: str, name: str) -> Iterator[str]:
    found = [scores[kind][name] for scores in contenders.values()]
    yield write_num_rows(found[0]["num_rows"])
    yield from map(_write_score, found)


def _write_score(found: Mapping[str, Any]) -> str:
    return f"{found['score']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _write_test(test: Mapping[str, Any]) -> tuple[str, str]:
    return f"{test['difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}]", write_p_value(test["p_adjusted"])

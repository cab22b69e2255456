"""The card as a person reads it: what was built, by what, from whom, and what was left out."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from eshop_ray.reporting.page import Chart, Level, Page, Section, Table, code
from eshop_ray.reporting.picture import BLUE, LOOK, WIDTH, to_svg
from eshop_ray.reporting.words import NONE, count

MIN_P = 0.01
"""Below this chance of so uneven places of right options a reader is warned."""
MAX_BARS = 50

Card = Mapping[str, Any]
"""What `describe_build` returns."""


def build_page(card: Card) -> Page:
    """Return the card as a page."""
    is_biased = card["position_bias_p"] is not None and card["position_bias_p"] < MIN_P
    level: Level = "attention" if is_biased or card["absent"] else "well"
    sections = [
        _show_subtasks(card),
        *_show_shares(card),
        *_show_teacher(card),
        _show_removed(card),
        _show_reading(card),
        _show_absent(card),
        _show_places(card),
    ]
    return Page("EshopInstruct", level, word_verdict(card), sections)


def word_verdict(card: Card) -> str:
    """Say in one sentence what there is."""
    return (
        f"{count(card['num_rows'], 'row')} of {count(card['num_subtasks'], 'sub-task')} in "
        f"{count(len(card['languages']), 'language')}; digest {code(card['digest'][:12])}."
    )


def draw_bars(counts: Mapping[str, int]) -> bytes | None:
    """Draw a bar for each count, the first on top; None where there is none."""
    shown = dict(list(counts.items())[:MAX_BARS])
    if not shown:
        return None
    with mpl.rc_context(LOOK):
        figure = Figure((WIDTH, 0.7 + 0.2 * len(shown)))
        axes = figure.subplots()
        axes.barh(range(len(shown)), list(shown.values()), color=BLUE)
        axes.set_yticks(range(len(shown)), list(shown), fontsize=8)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("rows")
        return to_svg(figure)


def _chart(counts: Mapping[str, int], caption: str) -> Chart:
    return Chart(partial(draw_bars, counts), caption)


def _tabulate(counts: Mapping[str, int], name: str) -> Table:
    return Table((name, "rows"), [(value, f"{number:,}") for value, number in counts.items()])


def _show_subtasks(card: Card) -> Section:
    subtasks = card["rows_by_subtask"]
    splits = list(card["rows_by_split"])
    rows = [
        (name, *(f"{one['rows'].get(split, 0):,}" for split in splits), str(one["quota"] or NONE))
        for name, one in subtasks.items()
    ]
    sizes = {name: sum(one["rows"].values()) for name, one in subtasks.items() if one["rows"]}
    ordered = dict(sorted(sizes.items(), key=lambda pair: -pair[1]))
    table = Table(("sub-task", *splits, "quota"), rows)
    return Section("Sub-tasks", [], [table], [_chart(ordered, "Rows of each sub-task.")])


def _show_shares(card: Card) -> Iterator[Section]:
    for name in ("source", "route", "language", "licence", "task"):
        counts = card[f"rows_by_{name}"]
        yield Section(f"By {name}", [], [_tabulate(counts, name)], [_chart(counts, f"Rows of each {name}.")])
    lengths = card["num_characters"]
    charts = [_chart(counts, f"Rows by characters of the {name}.") for name, counts in lengths.items()]
    yield Section("Lengths", [], [_tabulate(counts, name) for name, counts in lengths.items()], charts)


def _show_teacher(card: Card) -> Iterator[Section]:
    """Yield what the teacher was asked for, and what came of it."""
    told = card["teacher"]
    if told is None:
        return
    share = NONE if told["kept_share"] is None else f"{told['kept_share']:.1%}"
    sentence = (
        f"{code(told['name'] or NONE)} was asked for {count(told['num_asked'], 'row')}; {told['num_kept']:,} of them "
        f"stay ({share})."
    )
    rows = [
        (name, str(one["quota"]), f"{one['num_asked']:,}", f"{one['num_kept']:,}")
        for name, one in told["rows_by_subtask"].items()
    ]
    table = Table(("what: sub-task", "quota", "asked for", "stay"), rows)
    yield Section("Teacher", [sentence], [table, _tabulate(told["num_removed"], "reason")])


def _show_removed(card: Card) -> Section:
    examples = [
        (reason, one["subtask"], one["text"]) for reason, found in card["removed_examples"].items() for one in found
    ]
    tables = [_tabulate(card["num_removed"], "reason")]
    tables += [Table(("reason", "sub-task", "question"), examples, num_text=3)] if examples else []
    sentence = "Candidates that did not become rows. More are built than quotas ask for."
    return Section("Removed", [sentence], tables, [_chart(card["num_removed"], "Candidates by reason.")])


def _show_reading(card: Card) -> Section:
    pieces = [
        (source, kind, f"{number:,}") for source, kinds in card["material"].items() for kind, number in kinds.items()
    ]
    tables = [Table(("source", "kind", "pieces"), pieces, num_text=2)]
    tables += [_tabulate(card["num_repaired"], "mended")] if card["num_repaired"] else []
    tables += [_tabulate(card["num_left_out"], "left out")] if card["num_left_out"] else []
    texts = [
        (reason, one["source"], one["text"]) for reason, found in card["left_out_examples"].items() for one in found
    ]
    tables += [Table(("reason", "source", "text"), texts, num_text=3)] if texts else []
    tables += [_tabulate(card["num_malformed"], "not read")] if card["num_malformed"] else []
    lines = [(source, line) for source, found in card["malformed_examples"].items() for line in found]
    tables += [Table(("source", "row"), lines, num_text=2)] if lines else []
    drift = [
        (source, one["column"], one["difference"], f"{one['num_files']} of {one['of']}", ", ".join(one["files"]))
        for source, found in card["drift"].items()
        for one in found
    ]
    tables += [Table(("source", "column", "difference", "files", "such as"), drift, num_text=5)] if drift else []
    return Section("Read", [], tables)


def _show_absent(card: Card) -> Section:
    rows = list(card["absent"].items())
    return Section("Absent or short", [], [Table(("what", "why"), rows, num_text=2)] if rows else [])


def _show_places(card: Card) -> Section:
    p_value = card["position_bias_p"]
    sentences = ["No question that was made here has one right option."]
    if p_value is not None:
        sentences = [
            f"Were each place as likely, places would be so uneven with p = {p_value:.3f} (chi-square, all sub-tasks)."
        ]
    if (passed := card["position_bias_p_passed_on"]) is not None:
        sentences.append(f"Rows passed on keep the places of their own sets, for which p = {passed:.3f}.")
    if number := card["num_without_position"]:
        sentences.append(f"{count(number, 'row')} of multiple choice, such as stars, without options are not counted.")
    rows = [(name, f"{value:.3f}") for name, value in card["position_bias_p_by_subtask"].items()]
    return Section("Places of right options", sentences, [Table(("sub-task / options", "p"), rows)] if rows else [])

import base64
import copy
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from eshop_ray.enrichment.histogram import EDGES, Histogram
from eshop_ray.enrichment.report import build_page, write_refusal, write_report
from eshop_ray.enrichment.report.verdict import is_failed, judge
from eshop_ray.reporting.render import to_html, to_markdown

TASKS = ("ner_tagging", "summarization", "classification")
ZERO = dict.fromkeys(("new", "changed", "unchanged", "deleted", "quarantined", "inferred", "reused"), 0)
HOSTILE = "<script>alert('x')</script> | `a` $x_1$ \ud800 \x00\x1b[31m \n" + "long " * 1000


def count_lengths(values):
    histogram = Histogram()
    histogram.add(values)
    return histogram.to_dict()


def make_stats(**changes):
    """A second night: 10 products new, 25 changed, 10 deleted of 2,465."""
    first = {
        "run_id": "20261121-020003", "name": "nightly", "started_at": "2026-11-21T02:00:03+00:00", "seconds": 1743.2,
        "engine": "vllm", "model_digest": "9f" * 32, "table_uri": "runs/nightly/enriched", "table_version": 14,
        "num_rows": 7395, "num_new": 7395, "num_changed": 0, "num_unchanged": 0, "num_deleted": 0,
        "num_inferred": 7000, "num_duplicates_reused": 61, "num_quarantined": 0, "num_empty": 294,
        "num_products": 2465, "num_unreadable": 0, "num_reviews": 9893, "num_input_tokens": 1893442,
        "num_generated_tokens": 241330, "max_quarantined_share": 0.1, "gpu_hour_price": None, "num_engines": 2,
        "tasks": {task: {**ZERO, "new": 2465, "input_tokens": 600000, "generated_tokens": 80000} for task in TASKS},
        "quarantine": {}, "quarantine_new": {}, "phases": {"scan": 12.1, "plan": 8.4, "infer": 1698.1, "maintain": 9.9},
        "histograms": {name: count_lengths(range(10, 700)) for name in
                       ("input_tokens", "generated_tokens", "prediction_characters")},
        "previous": None, "num_commits": 13, "num_files": 28,
    }  # fmt: skip
    night = {
        **copy.deepcopy(first),
        "started_at": "2026-11-22T02:00:02+00:00", "seconds": 71.4, "num_new": 30, "num_changed": 75,
        "num_unchanged": 7290, "num_deleted": 30, "num_inferred": 98, "previous": first,
        "throughput": [[0.0, 0, 0], [30.0, 0, 0], [45.5, 64, 2100], [48.2, 98, 3377]],
        "tasks": {task: {**ZERO, "new": 10, "changed": 25, "deleted": 10, "input_tokens": 9000, "generated_tokens": 900}
                  for task in TASKS},
        "examples": [{"product_id": "B01", "task": "classification", "status": "changed", "before": "accessories",
                      "after": "bags"}],
    }  # fmt: skip
    return {**night, **changes}


def make_unchanged(**changes):
    counts = dict.fromkeys(("num_new", "num_changed", "num_deleted", "num_inferred"), 0)
    tasks = {task: {**ZERO, "unchanged": 2465, "input_tokens": 0, "generated_tokens": 0} for task in TASKS}
    histograms = {name: count_lengths([]) for name in make_stats()["histograms"]}
    quiet = {"throughput": [], "examples": [], "tasks": tasks, "histograms": histograms, "phases": {"scan": 3.0}}
    return make_stats(**counts, **quiet, **changes)


def make_empty():
    stats = make_unchanged()
    zeros = {name: 0 for name in stats if name.startswith("num_")}
    return {**stats, **zeros, "tasks": {}, "previous": None, "seconds": 0.0, "phases": {}}


NIGHTS = {
    "second": make_stats(),
    "first": {**make_stats()["previous"], "throughput": [], "examples": []},
    "unchanged": make_unchanged(),
    "empty": make_empty(),
    "failed": make_stats(num_quarantined=1301, quarantine={"engine_error": 1301}, quarantine_new={"engine_error": 9}),
}


def render_markdown(stats):
    return to_markdown(build_page(stats))


def render_html(stats):
    return to_html(build_page(stats))


class Page(HTMLParser):
    """Tags, attributes and text of a page; every tag that is opened must be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.pictures, self.text = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read_picture(picture):
    kind, _, content = picture["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    return base64.b64decode(content).decode()


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [
        ("second", "well", "All is well: 2,465 products are current; rows: 30 new, 75 changed, 30 deleted; "),
        ("first", "well", "All is well: the first run enriched 2,465 products; the model was asked 7,000 questions."),
        ("unchanged", "well", "All is well: nothing changed since the last run, 2,465 products are current; "),
        ("empty", "attention", "look at this: the catalogue has no products (`catalog.path`)."),
        (
            "failed",
            "failed",
            "The run failed: 1,301 of 7,395 rows (17.6%) are in quarantine, most of all for `engine_e",
        ),
    ],
)
def test_first_sentence_says_whether_all_is_well(name, level, words):
    verdict = judge(NIGHTS[name])
    assert verdict.level == level
    assert words in verdict.sentence
    assert render_markdown(NIGHTS[name]).splitlines()[2] == f"**{verdict.sentence}**"
    assert f'<p class="verdict {level}">' in render_html(NIGHTS[name])


def test_run_fails_above_its_limit_only():
    assert not is_failed(make_stats(num_rows=100, num_quarantined=10))
    assert is_failed(make_stats(num_rows=100, num_quarantined=11))
    assert not is_failed(make_empty())
    assert is_failed({**make_empty(), "num_quarantined": 1})  # not a row could be read


def test_a_few_bad_rows_are_told_and_many_are_a_concern():
    few = judge(make_stats(num_quarantined=44, quarantine={"truncated": 44}, quarantine_new={"truncated": 2}))
    assert few.level == "well"
    assert few.sentence.endswith("; 44 rows in quarantine (0.6%, 2 of them new).")
    many = judge(make_stats(num_quarantined=80, quarantine={"truncated": 80}, quarantine_new={"a": 1, "truncated": 79}))
    assert (many.level, many.sentence.partition(": ")[2]) == (
        "attention",
        "80 rows went into quarantine, most of all for `truncated`.",
    )


def test_half_an_export_is_a_concern():
    assert judge(make_stats(num_products=1972)).level == "well"
    verdict = judge(make_stats(num_products=1971, num_reviews=0))
    assert verdict.level == "attention"
    assert "only 1,971 products were read, the last run had 2,465 (`catalog.path`); only 0 reviews" in verdict.sentence


@pytest.mark.parametrize("name", NIGHTS)
def test_page_is_whole_and_loads_nothing(name):
    text = render_html(NIGHTS[name])
    page = Page(text)
    assert not re.search(r"https?:|url\(|@import|<script|<link", text)
    for picture in page.pictures:
        assert picture["alt"]
        assert ElementTree.fromstring(read_picture(picture)).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(page.pictures) == {"second": 5, "first": 4, "unchanged": 0, "empty": 0, "failed": 6}[name]


def test_charts_name_their_axes():
    drawn = "\n".join(map(read_picture, Page(render_html(NIGHTS["failed"])).pictures))
    for words in ("rows per second", "generated tokens per second", "seconds since inference began", "engine_error"):
        assert f"<!-- {words} -->" in drawn
    assert "<!-- minutes since inference began -->" not in drawn


def test_same_numbers_same_bytes():
    assert render_html(make_stats()) == render_html(make_stats())


def test_tables_compare_with_the_last_run():
    text = render_markdown(make_stats())
    assert "| input tokens | 1,893,442 | 1,893,442 |" in text
    assert "| changed | 75 | 0 |" in text
    assert "| duration | 1 min 11 s | 29 min 03 s |" in text
    assert "| ner_tagging | 10 | 25 | 0 | 10 | 0 | 0 | 0 | 9,000 | 900 |" in text
    assert "| B01 | classification | changed | accessories | bags |" in text
    assert "The model is another" not in text
    assert "| new | 7,395 | - |" in render_markdown(NIGHTS["first"])


def test_another_model_is_named():
    assert "The model is another: `000000000000`, in the last run `9f9f9f9f9f9f`." in render_markdown(
        make_stats(model_digest="0" * 64)
    )


def test_cost_has_a_line_when_it_has_a_price():
    assert "Cost:" not in render_markdown(make_stats()).replace("## Cost", "")
    priced = render_markdown(make_stats(gpu_hour_price=2.5, seconds=7200.0))
    assert "Cost: 10.00 for 2 engines over 2 h 00 min, at 2.50 an engine hour; 102.04 per 1,000 answers." in priced
    assert "Cost: 0.10" in render_markdown(make_unchanged(gpu_hour_price=2.5, seconds=71.4))


@pytest.mark.filterwarnings("error")
def test_what_a_shop_or_a_model_wrote_stays_text(tmp_path):
    example = dict.fromkeys(("product_id", "task", "status", "before", "after"), HOSTILE)
    tasks = {HOSTILE: make_stats()["tasks"]["ner_tagging"]}
    reasons = {HOSTILE: 3, "--> $x_$ ]]>": 2}
    stats = make_stats(
        name=HOSTILE, engine=HOSTILE, tasks=tasks, examples=[example], num_quarantined=900, quarantine=reasons,
        quarantine_new=reasons,
    )  # fmt: skip
    text = write_report(tmp_path, stats).read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert "<script>alert('x')" in "".join(page.text)
    assert all(ElementTree.fromstring(read_picture(picture)) is not None for picture in page.pictures)
    markdown = (tmp_path / "enrichment.md").read_text()
    assert not re.search(r"(?<!\\)<script", re.sub(r"`[^`\n]*`", "", markdown))
    assert len(markdown) < 10_000
    columns = {line.replace(r"\|", "").count("|") for line in markdown.splitlines() if line.startswith("| \\<script")}
    assert columns == {10 + 1, 5 + 1, 3 + 1}


CANARY = {
    "task": "classification", "num_answers": 42, "num_compared": 5000, "failed_share": 0.25,
    "failed_share_before": 0.01, "length": 2.5, "length_before": 2, "label_shift": None,
}  # fmt: skip


def test_canary_has_a_table_where_there_was_one():
    assert "## The canary" not in render_markdown(make_stats())
    text = render_markdown(make_stats(canary=[CANARY]))
    assert "| classification | 42 | 5,000 | 25.0% | 1.0% | 2.5 | 2 | - |" in text


def test_night_that_its_canary_ended_says_why_in_the_first_sentence(tmp_path):
    facts = make_stats(canary=[CANARY])
    known = ("run_id", "name", "started_at", "engine", "num_engines", "model_digest", "table_uri", "table_version")
    facts = {name: facts[name] for name in (*known, "num_files", "num_commits", "canary")}
    Page(write_refusal(tmp_path, facts, "classification: 25.0% failed; run it once with x=1").read_text())
    text = (tmp_path / "enrichment.md").read_text()
    assert text.splitlines()[2] == (
        "**The run ended at its canary. classification: 25.0% failed; run it once with x=1.**"
    )
    assert "| classification | 42 |" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["enrichment.html", "enrichment.md"]


def test_report_stands_in_the_run_directory(tmp_path):
    path = write_report(tmp_path / "run", make_stats())
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["enrichment.html", "enrichment.md"]
    assert path.read_text() == render_html(json.loads(json.dumps(make_stats())))


def test_histograms_of_workers_add_up():
    values = [0, 1, 2, 3, 5, 8, 8, 200, 10**9, -1]
    whole, left, right = Histogram(), Histogram(), Histogram()
    whole.add(values)
    left.add(values[:4])
    right.add(values[4:])
    left.merge(Histogram.from_dict(json.loads(json.dumps(right.to_dict()))))
    assert left == whole
    assert (whole.num_values, whole.counts[0], whole.counts[-1]) == (len(values), 2, 1)
    for value in EDGES[:-1]:
        single = Histogram()
        single.add([value])
        assert single.edges[single.counts.index(1)] == value
    with pytest.raises(ValueError, match="different edges"):
        whole.merge(Histogram((0, 1), [5]))


def test_histogram_bounds_its_values():
    histogram = Histogram()
    assert histogram.get_bound(0.5) is None
    histogram.add([10] * 50 + [100] * 45 + [1000] * 5)
    assert [histogram.get_bound(share) for share in (0, 0.5, 0.51, 0.95, 1)] == [11, 11, 128, 128, 1024]


@pytest.mark.parametrize("edges", [[0, 1], [0, 2, 1], [0, 1, 1]])
def test_histogram_with_wrong_edges_is_refused(edges):
    with pytest.raises(ValueError, match="rising edges"):
        Histogram.from_dict({"edges": edges, "counts": [1, 2]})

"""The pages that people read are short enough, complete, and name only what exists."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from events import known
from page_names import read_code
from reference import GENERATED

from eshop_ray.config import Config
from eshop_ray.enrichment.outcome import STAGES
from eshop_ray.inference.requests import Failure
from eshop_ray.tasks.metrics import get_metric

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*DOCS.rglob("*.md"), *ROOT.glob("*.md")))
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")

REASONS = ("Reasons of a row", "Reasons in the quarantine")
READING = (
    *("unreadable", "missing_id", "duplicate_id", "missing_text"),
    *("wrong_type", "not_utf8", "too_long"),
)
"""Reason codes of rows that no engine was asked about."""


def read(page):
    return (ROOT / page).read_text()


def list_anchors(page):
    """Return the anchors of a page's headings, as GitHub and mkdocs make them of plain words."""
    headings = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_one_page():
    size = len((ROOT / "README.md").read_bytes())
    assert size <= 8192, f"README.md has {size:,} bytes, 8,192 at most: move what a newcomer does not need to docs/"


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_only_what_exists(page):
    problems = known.check_page(page, read(page))
    assert not problems, "\n".join(map(str, problems))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_of_pages_outside_of_the_site_lead_somewhere(page):
    broken = []
    for target, anchor in LINK.findall(read(page)):
        if "://" in target:
            continue
        is_there = (ROOT / (target or page)).exists() and (not anchor or anchor in list_anchors(target or page))
        broken += [] if is_there else [f"{target}#{anchor}"]
    assert not broken, f"{page}: no such page or heading: {', '.join(broken)}"


@pytest.mark.parametrize("page", PAGES)
def test_configs_in_pages_are_valid(page):
    for code in read_code(read(page)):
        values = yaml.safe_load(code.text) if code.language == "yaml" else {}
        if {"name", "data"} <= set(values):
            assert Config.model_validate(values).data.sources


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_pages_exist(page):
    spans = [code.text for code in read_code(read(page)) if code.language is None]
    paths = [span for span in spans if re.fullmatch(r"(eshop_ray|jobs|tests|docs|\.ci)/[\w./-]*", span)]
    broken = [path for path in paths if not (ROOT / path).exists() and "FORMAT" not in path]
    assert not broken, f"{page}: no such file or folder: {', '.join(broken)}"


def test_the_task_that_the_docs_show_is_one():
    (source,) = (code.text for code in read_code(read("docs/tasks.md")) if code.language == "python")
    shown: dict = {}
    exec(source, shown)
    task = shown["TASK"]
    for example in task.examples:
        assert task.build_messages(example)[1]["content"]
        answer = task.parse(task.format_target(example["target"]))
        assert get_metric(task.metric).aggregate([example["target"]], [answer]) == 1.0


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    missing = [page for path in DOCS.rglob("*.md") if (page := path.relative_to(DOCS).as_posix()) not in navigation]
    assert not missing, f"put into `nav` of mkdocs.yml: {', '.join(missing)}"


def test_the_reference_pages_ask_for_everything_that_is_generated():
    asked = set(re.findall(r"<!-- generated: (.+) -->", "".join(map(read, PAGES))))
    assert asked == set(GENERATED)


def test_every_reason_code_is_explained():
    text = read("docs/troubleshooting.md")
    rows, quarantine = (text.partition(f"## {title}")[2].partition("\n## ")[0] for title in REASONS)
    of_rows = get_args(Failure.__dataclass_fields__["reason"].type)
    missing = [reason for reason in of_rows if f"| `{reason}` |" not in rows]
    missing += [reason for reason in (*STAGES, *READING) if f"| `{reason}` |" not in quarantine]
    assert not missing, f"docs/troubleshooting.md does not explain {', '.join(missing)}"


def test_mkdocs_is_strict_and_loads_nothing_from_the_network():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert settings["strict"] is True
    assert settings["theme"]["font"] is False

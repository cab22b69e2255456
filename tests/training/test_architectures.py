"""Every architecture that people tune is trained and merged exactly, or refused; the docs say how, and why."""

from pathlib import Path

import pytest

from tests.bench.models import find_wrong
from tests.training.architectures import ARCHITECTURES
from tests.training.exactness import measure

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def group():
    """Return the architectures of each row of the docs' table."""
    groups = {}
    for one in ARCHITECTURES:
        excluded = ", ".join(one.lora.get("options", {}).get("exclude_modules", ()))
        setting = f"; set `lora.options: {{exclude_modules: [{excluded}]}}`" if excluded else ""
        groups.setdefault((one.road, f"{one.reason}{setting}"), []).append(one)
    return groups


PECULIAR = {"Laguna", "CTRL", "xLSTM"}
"""PEFT loses some of its weights; it changes embeddings in place; it scores all tokens, whatever it is asked for."""
FAST = PECULIAR | {members[0].name for members in group().values()}
"""And one of each kind; `make bench-models` has all."""


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(one, id=one.name, marks=() if one.name in FAST else pytest.mark.slow) for one in ARCHITECTURES],
)
def test_trained_and_merged_as_transformers_and_peft_do(architecture, tmp_path):
    assert find_wrong([architecture], {architecture.name: measure(architecture, tmp_path)}) == []


def test_the_docs_name_them():
    named = {kind: ", ".join(one.name for one in members) for kind, members in group().items()}
    rows = [f"| {road} | {why} | {names} |" for (road, why), names in named.items()]
    page = PAGE.read_text().splitlines()
    start = page.index("| road | why | architectures |")
    assert page[start + 2 : start + 2 + len(rows) + 1] == [*rows, ""]

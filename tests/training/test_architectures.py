"""Every architecture that people tune has the gradients of training row by row, and the docs say by which road."""

import re
from pathlib import Path

import pytest

from tests.training.architectures import ARCHITECTURES, measure

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_gradients_are_those_of_training_row_by_row(architecture):
    is_packed, error = measure(architecture)
    assert is_packed == architecture.is_packed
    assert error < 1e-5


@pytest.mark.parametrize(("road", "is_packed"), [("packed", True), ("one row a pass", False)])
def test_the_docs_name_them(road, is_packed):
    (listed,) = re.findall(rf"^\| {road} \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert listed.split(", ") == [one.name for one in ARCHITECTURES if one.is_packed == is_packed]

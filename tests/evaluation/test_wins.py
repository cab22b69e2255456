"""A group is won where the whole interval of the difference lies above 0."""

from uuid import uuid4

import pytest

from eshop_ray.errors import UserError
from eshop_ray.evaluation.wins import find_wins


def compare(tmp_path, write_predictions, ours, theirs, level=0.9):
    folders = [tmp_path / str(uuid4()) for _ in range(2)]
    for folder, groups in zip(folders, (ours, theirs), strict=True):
        write_predictions(folder, groups)
    return find_wins(*folders, level, seed=0)


def test_only_clear_leads_are_wins(tmp_path, write_predictions):
    theirs = {"ahead": [1] * 20 + [0] * 40, "level": [1, 0] * 30, "behind": [1] * 60}
    ours = {"ahead": [1] * 50 + [0] * 10, "level": [0, 1] * 29 + [1, 1], "behind": [0] * 60}
    wins = compare(tmp_path, write_predictions, ours, theirs)
    assert wins == {"ahead": True, "level": False, "behind": False}


def test_rows_are_paired(tmp_path, write_predictions):
    """Six rows more out of sixty, none lost: clear for pairs, far from clear for two samples of their own."""
    theirs = {"group": [1] * 30 + [0] * 30}
    assert compare(tmp_path, write_predictions, {"group": [1] * 36 + [0] * 24}, theirs)["group"]
    swapped = {"group": [0] * 24 + [1] * 36}
    assert not compare(tmp_path, write_predictions, swapped, theirs)["group"]


def test_a_stricter_level_asks_for_more(tmp_path, write_predictions):
    theirs, ours = {"group": [0] * 60}, {"group": [1] * 4 + [0] * 56}
    assert compare(tmp_path, write_predictions, ours, theirs, level=0.9)["group"]
    assert not compare(tmp_path, write_predictions, ours, theirs, level=0.99)["group"]


def test_failed_rows_count_as_wrong(tmp_path, write_predictions):
    assert compare(tmp_path, write_predictions, {"group": [1] * 60}, {"group": [None] * 60})["group"]


@pytest.mark.parametrize(("theirs", "number"), [({"group": [1] * 59}, "1 row"), ({"other": [1] * 60}, "60 rows")])
def test_different_rows_are_not_compared(tmp_path, write_predictions, theirs, number):
    with pytest.raises(UserError, match=rf"group `group`: {number} missing in the first"):
        compare(tmp_path, write_predictions, {"group": [1] * 60}, theirs)

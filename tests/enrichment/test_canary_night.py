"""Nights whose engine went bad: the canary ends them before anything is committed, and tells why."""

import pytest

from eshop_ray.enrichment.canary import CanaryError
from tests.enrichment.shop import Shop, review

pytestmark = pytest.mark.usefixtures("ray_session")

CANARY = {"max_quarantined_share": 1.0, "canary_rows": 60}


@pytest.fixture(scope="module")
def settled(tmp_path_factory, ray_session):  # noqa: ARG001
    """A shop with rows enough to be compared with."""
    shop = Shop(tmp_path_factory.mktemp("settled"), num_products=60)
    shop.reviews = [review(number, f"fine thing {number}") for number in range(60)]
    stats = shop.night(enrich=CANARY)
    compared = {task["task"]: (task["num_answers"], task["num_compared"]) for task in stats["canary"]}
    assert compared == dict.fromkeys(("classification", "ner_tagging", "summarization"), (20, 0))
    assert stats["num_inferred"] == 180
    return shop


@pytest.fixture
def settled_shop(tmp_path, settled):
    return settled.copy(tmp_path)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (
            {"empty_on": "fine thing"},
            r"^summarization: .* 100\.0% failed or could not be read, .*; nothing was changed.*failed_share=1$",
        ),
        pytest.param(
            {"truncate_on": "Labels:", "truncate_tokens": 30},
            r"^classification: .*answers that the table does not have went from 0\.0% to 100\.0%.*label_shift=1$",
            marks=pytest.mark.slow,  # what is compared, and how, has tests without Ray
        ),
        pytest.param(
            {"truncate_on": "fine thing", "truncate_tokens": 40},
            r"^summarization: .*median length went from \d to 40 generated tokens.*canary_max_length_ratio=\d+$",
            marks=pytest.mark.slow,  # what is compared, and how, has tests without Ray
        ),
    ],
)
def test_bad_answers_end_the_night_before_anything_is_committed(settled_shop, faults, message):
    shop = settled_shop
    before, numbers, shop.faults = shop.rows(), shop.statistics(), faults
    with pytest.raises(CanaryError, match=message) as caught:
        shop.night(model="broken", enrich=CANARY)
    assert caught.value.exit_status == 2
    assert shop.rows() == before
    assert shop.quarantine() == []
    assert shop.statistics() == numbers
    report = (shop.folder / "runs" / "shop" / "enrichment.md").read_text()
    assert "The run ended at its canary" in report
    assert "## The canary" in report


@pytest.mark.slow
def test_setting_lets_a_night_through_that_is_meant(settled_shop):
    shop = settled_shop
    shop.faults = {"empty_on": "fine thing"}
    stats = shop.night(model="broken", enrich={**CANARY, "canary_max_failed_share": 1.0})
    assert (stats["num_inferred"], stats["num_quarantined"]) == (180, 60)
    shop.faults = {}
    assert shop.night(model="broken", replay=True, enrich=CANARY)["num_quarantined"] == 0


def test_budget_that_ends_in_the_canary_lets_nothing_bad_through(settled_shop):
    shop = settled_shop
    before, shop.faults = shop.rows(), {"reject_on": "scarf", "rows_per_second": 100}
    shop.table = {"rows_per_file": 8, "commit_files": 1}
    with pytest.raises(CanaryError):
        shop.night(model="broken", enrich={**CANARY, "max_cost": 1e-6, "gpu_hour_price": 1.0})
    assert shop.rows() == before


@pytest.mark.slow  # test_canary_judge.py has the judgement without nights
def test_new_model_that_answers_alike_passes(settled_shop):
    stats = settled_shop.night(model="better", enrich=CANARY)
    assert (stats["num_changed"], stats["num_inferred"]) == (180, 180)
    assert [task["num_compared"] for task in stats["canary"]] == [60, 60, 60]

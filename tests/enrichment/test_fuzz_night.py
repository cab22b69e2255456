"""Whole nights over random files: the job ends, its sums add up, and the next night has nothing to ask."""

import json
from shutil import rmtree

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from eshop_ray.enrichment.nightly import run_night
from eshop_ray.errors import UserError
from eshop_ray.models import Model
from tests.enrichment.junk import catalogues, grow, products, review_files
from tests.enrichment.shop import COUNTED

pytestmark = pytest.mark.usefixtures("ray_session")

FORMATS = ("jsonl", "jsonl", "csv", "parquet")
rows = st.lists(products, min_size=20, max_size=60)


def over_any_input(num_examples):
    """Return a decorator that has a test see so many random catalogues and reviews, the same ones every time."""

    def decorate(test):
        chosen = settings(
            max_examples=num_examples,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        return chosen(given(products=rows, others=catalogues(FORMATS, max_files=4), reviews=review_files)(test))

    return decorate


@pytest.mark.slow  # plans are fuzzed without Ray
@over_any_input(2)
def test_night_over_any_input_ends_and_adds_up(shop, products, others, reviews):
    check_nights(shop, products, others, reviews)


@pytest.mark.slow
@over_any_input(8)
def test_night_over_more_inputs_ends_and_adds_up(shop, products, others, reviews):
    check_nights(shop, products, others, reviews)


def check_nights(shop, products, others, reviews):
    folder = shop.folder / "in"
    for old in (folder, shop.folder / "runs"):
        rmtree(old, ignore_errors=True)
    folder.mkdir()
    first = "\n".join(json.dumps(row) for row in products).encode()
    for number, (ending, data) in enumerate([("jsonl", first), ("jsonl", b""), *others]):
        (folder / f"products-{number}.{ending}").write_bytes(grow(data))
    for number, data in enumerate([b"", *reviews]):
        (folder / f"reviews-{number}.jsonl").write_bytes(grow(data))
    config = shop.config(
        catalog={"path": "in/products-*", "labels": ["Garden", "Kitchen"]}, reviews={"path": "in/reviews-*"}
    )
    try:
        tonight = run_night(config, Model(None, "model"))
    except UserError:
        return
    for stats in (tonight, run_night(config, Model(None, "model"))):
        assert sum(stats[name] for name in COUNTED) == stats["num_rows"]
        assert len(shop.quarantine()) == stats["num_quarantined"] == tonight["num_quarantined"]
        assert len(shop.rows()) == stats["num_rows"] - stats["num_unreadable"] - stats["num_duplicates"]
    assert (stats["num_inferred"], stats["num_new"], stats["num_changed"]) == (0, 0, 0)

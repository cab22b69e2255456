from pathlib import Path

import pytest

from eshop_ray.config import Config, SearchSection
from eshop_ray.evaluation.experiments.trials import SearchPlan


@pytest.mark.parametrize(
    ("search", "stops"),
    [
        ({}, [4, 16, 32]),
        ({"first_rows": 2, "max_rows": 6}, [2, 6]),
        ({"first_rows": 8, "kept_share": 0.5}, [8, 16, 32]),
        ({"first_rows": 1, "max_rows": 9, "kept_share": 0.34}, [1, 3, 9]),
        ({"first_rows": 64}, [32]),
        ({"kept_share": 1.0}, [32]),
        ({"first_rows": 10, "kept_share": 0.99}, [10, 20, 32]),
    ],
)
def test_stages_add_rows_until_there_are_enough(search, stops):
    plan = SearchPlan(Config(name="x", search=SearchSection(**search)), Path(), [], {})
    assert plan.stages == [range(start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True)]

import json

import numpy as np
import pytest

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.evaluation.matrix.answers import Answers
from eshop_ray.evaluation.matrix.plan import plan_runs
from eshop_ray.evaluation.matrix.runs import CELLS
from eshop_ray.evaluation.matrix.units import Unit

UNITS = (Unit("multiple_choice", "multiple_choice", "SA", 300), Unit("classification", "classification", "pairs", 120))
NUM_ROWS = 40


@pytest.fixture
def units():
    return UNITS


@pytest.fixture
def make_config(tmp_path):
    """Return a function that makes a matrix of two tasks, 100 and 200 rows."""

    def make(**matrix):
        values = {"models": ["llm", "encoder"], "strategies": ["zero-shot", "single", "mixed"], "sizes": [100, 200]}
        return Config.model_validate(
            {"name": "matrix", "run_root": str(tmp_path), "matrix": {**values, "price_per_hour": 3.6, **matrix}}
        )

    return make


@pytest.fixture
def answer(tmp_path):
    """Return a function that makes a run's answers, of which the first so many rows are right, and its training."""

    def make(run, unit, num_right, rows_per_second=10.0, clusters=None, num_rows=NUM_ROWS, pretrained=True):
        folder = tmp_path / "matrix" / CELLS / run.name / ("conventional" if run.model != "llm" else "adapter")
        if run.answers_as != "base" and not folder.exists():
            folder.mkdir(parents=True)
            (folder / "training.json").write_text(json.dumps({"seconds": run.size / 10}))
            details = {} if run.model == "llm" else {"pretrained": pretrained}
            artifacts.write_manifest(folder, "adapter", "inputs", {}, details)
        right = np.zeros((num_rows, 1))
        right[:num_right] = 1
        return Answers(
            run=run,
            unit=unit,
            metric="accuracy",
            ids=[f"{number:02d}" for number in range(num_rows)],
            targets=["1"] * num_rows,
            counts=np.column_stack([right, np.ones(num_rows)]),
            clusters=clusters,
            num_errors=0,
            rows_per_second=rows_per_second,
            tokens_per_row=80.0,
        )

    return make


@pytest.fixture
def plan():
    def make(config):
        return plan_runs(config.matrix, UNITS, config.seed)

    return make

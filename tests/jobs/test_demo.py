"""What the demo says before it does something, and what it adds to the scores."""

import json

import pytest

from eshop_ray.artifacts import write_json
from eshop_ray.config import Config, InferSection
from eshop_ray.errors import UserError
from eshop_ray.jobs import demo


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "5 s"), (3, "5 s"), (42, "40 s"), (88, "90 s"), (90, "2 min"), (380, "6 min"), (700, "12 min")],
)
def test_times_are_round(seconds, said):
    assert demo.round_time(seconds) == said


def test_a_step_says_what_it_does_and_how_long_it_may_take():
    step = demo.Step(print, "Tune the model", 380)
    assert demo.announce(step, 4, 9) == "---- 4/9  Tune the model (about 6 min)"


def test_the_whole_is_announced_with_the_cores_that_it_was_measured_on():
    steps = [demo.Step(print, "one", 100), demo.Step(print, "two", 200)]
    assert demo.introduce(steps, 16) == "2 steps, about 5 min on 2 cores with nothing else to do; this machine has 16"


def test_the_demo_promises_no_more_than_twelve_minutes():
    assert sum(step.seconds for step in demo.STEPS) <= 12 * 60
    assert len({step.aim for step in demo.STEPS}) == len(demo.STEPS)


def test_scores_get_wins_and_seconds_and_keep_the_rest(tmp_path, write_predictions):
    config = Config(name="demo", run_root=str(tmp_path))
    write_predictions(config.predictions_dir("base"), {"won": [0] * 60, "even": [1, 0] * 30})
    write_predictions(config.predictions_dir("merged"), {"won": [1] * 60, "even": [1, 0] * 30})
    path = config.run_dir / "metrics.json"
    write_json(path, {"score": 0.5, "groups": {}})
    assert demo._record(config, 123.456, is_fresh=True) == {"even": False, "won": True}
    assert json.loads(path.read_text()) == {
        "score": 0.5,
        "groups": {},
        "wins_90": 1,
        "demo_seconds": 123.5,
        "demo_is_fresh": True,
    }


def test_a_demo_without_its_base_is_refused():
    with pytest.raises(UserError, match=r"leave `infer\.models` at"):
        demo._record(Config(name="demo", infer=InferSection(models=("merged",))), 1.0, is_fresh=True)

"""Batches: who is asked what together, how long it takes, and what is refused."""

import pytest

from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench import batches
from eshop_ray.evaluation.shopbench.batches import ModelError, TrackTime, account, answer_questions
from eshop_ray.evaluation.shopbench.tracks import BUDGET_SECONDS, read_track


class Model:
    """Answers with the number of its call."""

    def __init__(self, size=4, answer=None, sizes=()):
        self.calls = []
        self.size, self.answer, self.sizes = size, answer, list(sizes)

    def get_batch_size(self):
        return self.sizes.pop(0) if self.sizes else self.size

    def batch_predict(self, batch, is_multiple_choice):
        self.calls.append((batch["prompt"], is_multiple_choice))
        return self.answer(batch["prompt"]) if self.answer else [str(len(self.calls))] * len(batch["prompt"])


def test_batches_are_of_one_track_and_of_choices_or_others(load, rows):
    questions = load(rows).questions
    model = Model()
    answers = answer_questions(model, questions)
    by_prompt = {question.prompt: question for question in questions}
    for prompts, is_multiple_choice in model.calls:
        asked = [by_prompt[prompt] for prompt in prompts]
        assert len(asked) <= 4
        assert {question.is_multiple_choice for question in asked} == {is_multiple_choice}
        assert len({question.track for question in asked}) == 1
    assert set(answers.texts) == {question.id for question in questions}
    assert {track: (one.num_questions, one.num_batches) for track, one in answers.times.items()} == {
        1: (12, 4),
        2: (18, 5),
        4: (6, 2),
    }


def test_batch_size_may_change_from_call_to_call(load, rows):
    model = Model(sizes=[1, 2, 3])
    answer_questions(model, load(rows[::6]).questions)
    assert [len(prompts) for prompts, _ in model.calls] == [1, 2, 3]


def fail(_):
    raise ModelError("ValueError: no")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda prompts: ["1"] * (len(prompts) - 1), "returned 3 answers instead of a list of 4 texts"),
        (lambda prompts: ["1"] * (len(prompts) + 1), "returned 5 answers instead of a list of 4 texts"),
        (lambda _: "1111", "returned a str instead of a list of 4 texts"),
        (lambda _: None, "returned a NoneType instead"),
        (lambda _: ["1", 2, "3", "4"], r"the answer to .*questions\.jsonl:7 is a int, not a text"),
        (fail, "ValueError: no; no score is made of the other answers"),
    ],
)
def test_wrong_answers_name_batch_and_rows(load, rows, answer, told):
    where = r"batch 1 \(4 questions, .*questions\.jsonl:1 to .*questions\.jsonl:19\): "
    with pytest.raises(UserError, match=f"{where}.*{told}"):
        answer_questions(Model(answer=answer), load(rows).questions)


@pytest.mark.parametrize("size", [0, 17, "4", True, None, 2.0])
def test_batch_size_is_that_of_the_competition(load, rows, size):
    with pytest.raises(UserError, match=r"get_batch_size returned .*a whole number from 1 to 16"):
        answer_questions(Model(size=size), load(rows).questions)


def test_time_is_held_against_the_budgets(load, rows, monkeypatch):
    """Each batch of track 1 takes 3 seconds, those of track 2 take 41 for four questions, those of track 4 take 2."""
    questions = load(rows).questions
    clock = [0.0]
    monkeypatch.setattr(batches.time, "perf_counter", lambda: clock[0])
    tracks = {question.prompt: question.track for question in questions}

    def answer(prompts):
        clock[0] += {1: 3.0, 2: 41.0, 4: 2.0}[tracks[prompts[0]]]
        return ["1"] * len(prompts)

    told = account(answer_questions(Model(answer=answer), questions).times, start_seconds=5.0)
    assert {track: one["seconds"] for track, one in told.items()} == {"1": 17.0, "2": 210.0, "4": 9.0, "5": 226.0}
    # 18 questions in 5 batches: choices 4 and 2, others 4, 4 and 4; each took 41 s
    assert {track: one["num_over_limit"] for track, one in told.items()} == {"1": 0, "2": 5, "4": 0, "5": 5}
    assert {track: one["is_within"] for track, one in told.items()} == {"1": True, "2": False, "4": True, "5": False}
    assert told["2"]["longest_seconds_per_sample"] == 20.5
    assert told["5"]["budget_seconds"] == BUDGET_SECONDS[5] == 8400


def test_time_beyond_the_budget_is_not_within():
    told = account({2: TrackTime(num_questions=100, num_batches=7, seconds=1199.0)}, start_seconds=2.0)
    assert told["2"]["is_within"] is False
    assert told["5"]["is_within"] is True


def test_questions_of_no_track_have_no_budget():
    told = account({None: TrackTime(4, 1, 2.0)}, start_seconds=0.0)
    assert list(told) == ["none"]
    assert (told["none"]["budget_seconds"], told["none"]["is_within"]) == (None, None)


@pytest.mark.parametrize(
    "text", ["amazon-kdd-cup-24-user-behavior-alignment", "user-behavior-alignment", "track3", "Track 3", 3, "3"]
)
def test_tracks_go_by_several_names(text):
    assert read_track(text) == 3
    assert read_track("") is read_track(None) is None

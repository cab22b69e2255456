"""KDD Cup submissions run unchanged, in a process of their own."""

import sys

import psutil
import pytest

from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.batches import answer_questions
from eshop_ray.evaluation.shopbench.submission import SubmissionModel, digest_submission, find_submission

BASE = """
class ShopBenchBaseModel:
    def __init__(self):
        pass
"""
DUMMY = """
import os
import sys
from typing import Any, Dict, List
from .base_model import ShopBenchBaseModel

class DummyModel(ShopBenchBaseModel):
    def __init__(self):
        print("loading weights")
        self.word = open("word.txt").read()

    def get_batch_size(self) -> int:
        self.batch_size = 4
        return self.batch_size

    def batch_predict(self, batch: Dict[str, Any], is_multiple_choice:bool) -> List[str]:
        print("predicting", file=sys.stderr)
        {body}
"""
ANSWER = 'return ["1" if is_multiple_choice else self.word + " é" for _ in batch["prompt"]]'


@pytest.fixture
def make_submission(tmp_path):
    """A folder in the starter kit's layout; `body` is what `batch_predict` does."""

    def make(body=ANSWER):
        folder = tmp_path / "kit"
        (folder / "models").mkdir(parents=True)
        (folder / "word.txt").write_text("red")
        (folder / "models" / "base_model.py").write_text(BASE)
        (folder / "models" / "dummy_model.py").write_text(DUMMY.replace("{body}", body))
        (folder / "models" / "user_config.py").write_text(
            "from models.dummy_model import DummyModel\n\nUserModel = DummyModel\n"
        )
        return folder

    return make


@pytest.fixture
def run(tmp_path):
    """Have a submission answer questions, and return what it said; its process is gone afterwards."""

    def run(folder, questions, timeout_seconds=20.0):
        log = tmp_path / "submission.log"
        pids = []
        try:
            with SubmissionModel(find_submission(str(folder)), None, log, timeout_seconds) as model:
                pids.append(model._process.pid)
                model.wait_until_up()
                return answer_questions(model, questions), log.read_text()
        finally:
            assert pids
            assert not psutil.pid_exists(pids[0])

    return run


def test_submission_in_the_starter_kits_layout_answers(make_submission, run, load, rows):
    questions = load(rows).questions
    answers, log = run(make_submission(), questions)
    expected = {one.id: "1" if one.is_multiple_choice else "red é" for one in questions}
    assert answers.texts == expected
    assert "loading weights" in log


def test_submission_is_run_from_its_folder_by_any_python(make_submission, tmp_path):
    folder = make_submission()
    with SubmissionModel(folder, sys.executable, tmp_path / "log", 20.0) as model:
        model.wait_until_up()
        assert model.get_batch_size() == 4
    with pytest.raises(UserError, match=r"`shopbench\.submission_python` /no/python: No such file"):
        SubmissionModel(folder, "/no/python", tmp_path / "log", 20.0)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('raise ValueError("bad\\nweather")', r"ValueError: bad weather; see .*submission\.log; no score is made"),
        ("os._exit(7)", r"the submission's process ended with status 7; see .*submission\.log"),
        ("os.kill(os.getpid(), 9)", "the submission's process ended with status -9"),
        ("sys.exit(0)", "SystemExit: 0"),
        ('return [{"text"}] * len(batch["prompt"])', "is a dict, not a text"),
        ("return [1] * len(batch['prompt'])", "is a int, not a text"),
        ("return ['1']", "returned 1 answers instead of a list of 4 texts"),
        ("import time; time.sleep(60)", r"no answer within 1 s; see .*submission\.log"),
    ],
)
def test_submission_in_trouble_is_named_with_batch_and_rows(make_submission, run, load, rows, body, told):
    limit = 1.0 if "sleep" in body else 20.0
    with pytest.raises(UserError, match=rf"batch 1 \(4 questions, .*questions\.jsonl:1 to .*:19\): .*{told}"):
        run(make_submission(body), load(rows).questions, limit)


def test_submission_that_does_not_load_is_named(make_submission, run, load, rows):
    folder = make_submission()
    (folder / "word.txt").unlink()
    with pytest.raises(UserError, match=r"does not start: FileNotFoundError: .*word\.txt"):
        run(folder, load(rows).questions)
    (folder / "models" / "user_config.py").write_text("")
    with pytest.raises(UserError, match=r"does not start: AttributeError: .*UserModel"):
        run(folder, load(rows).questions)


def test_folder_without_a_user_config_is_no_submission(tmp_path):
    with pytest.raises(UserError, match=r"no models/user_config\.py and no user_config\.py in it"):
        find_submission(str(tmp_path))


def test_user_config_may_stand_in_the_folder_itself(tmp_path, run, load, rows):
    (tmp_path / "flat").mkdir()
    lines = ["class UserModel:", "    def get_batch_size(self): return 16"]
    lines += ["    def batch_predict(self, batch, is_multiple_choice): return ['0'] * len(batch['prompt'])"]
    (tmp_path / "flat" / "user_config.py").write_text("\n".join(lines))
    answers, _ = run(tmp_path / "flat", load(rows).questions)
    assert set(answers.texts.values()) == {"0"}


def test_digest_tells_a_changed_submission(make_submission):
    folder = make_submission()
    before = digest_submission(folder)
    assert digest_submission(folder) == before
    (folder / "word.txt").write_text("blue")
    assert digest_submission(folder) != before

import pytest

from tests import waiting
from tests.waiting import wait_until


def test_the_moment_is_returned():
    answers = iter([None, 0, "there"])
    assert wait_until(lambda: next(answers), "an answer") == "there"


def test_a_long_wait_says_for_what(monkeypatch):
    said, answers = [], iter([False] * 5 + [True])
    monkeypatch.setattr(waiting, "SAY_AFTER_S", 0.03)
    monkeypatch.setattr(waiting, "announce", said.append)
    wait_until(lambda: next(answers), "the first commit")
    assert said
    assert all(text.startswith("waiting for the first commit, 0 s") for text in said)


def test_a_wait_in_vain_fails_and_says_for_what():
    with pytest.raises(AssertionError, match="waited 0 s in vain for the first commit"):
        wait_until(lambda: False, "the first commit", timeout_s=0)


def test_what_has_ended_is_waited_for_no_longer():
    assert wait_until(lambda: False, "the first commit", is_running=lambda: False) is False

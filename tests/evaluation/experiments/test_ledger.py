import pytest

from eshop_ray.evaluation.experiments.ledger import Ledger, Measurement

ONE = Measurement("one", {"ner": 1.5, "ranking": None}, 0.25)
TWO = Measurement("two", {"ner": 0.5, "ranking": 2.0}, 0.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / "losses.jsonl"


def test_measurements_are_read_again(path):
    ledger = Ledger(path)
    ledger.add(ONE)
    ledger.add(TWO)
    for known in (ledger, Ledger(path)):
        assert (known["one"], known["two"]) == (ONE, TWO)
        assert "three" not in known


@pytest.mark.parametrize("num_kept", [1, 5, -1])
def test_line_that_was_cut_off_is_dropped_and_written_anew(path, num_kept):
    ledger = Ledger(path)
    ledger.add(ONE)
    whole = path.read_bytes()
    ledger.add(TWO)
    last = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + last[:num_kept])
    again = Ledger(path)
    assert "one" in again
    assert "two" not in again
    assert path.read_bytes() == whole
    again.add(TWO)
    assert path.read_bytes() == whole + last


def test_nothing_but_a_cut_off_line_is_an_empty_ledger(path):
    path.parent.mkdir()
    path.write_bytes(b'{"key": "one", "los')
    assert "one" not in Ledger(path)
    assert path.read_bytes() == b""

import pytest

from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.measurement_log import Measurement, MeasurementLog

ONE = Measurement("one", {"ner": 1.5, "ranking": None}, 0.25)
TWO = Measurement("two", {"ner": 0.5, "ranking": 2.0}, 0.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / "losses.jsonl"


def test_measurements_are_read_again(path):
    with MeasurementLog(path) as log:
        log.add(ONE)
        log.add(TWO)
        assert (log["one"], log["two"]) == (ONE, TWO)
    with MeasurementLog(path) as again:
        assert (again["one"], again["two"]) == (ONE, TWO)
        assert "three" not in again


@pytest.mark.parametrize("num_kept", [1, 5, -1])
def test_line_that_was_cut_off_is_dropped_and_written_anew(path, num_kept):
    with MeasurementLog(path) as log:
        log.add(ONE)
        whole = path.read_bytes()
        log.add(TWO)
    last = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + last[:num_kept])
    with MeasurementLog(path) as again:
        assert "one" in again
        assert "two" not in again
        assert path.read_bytes() == whole
        again.add(TWO)
        assert path.read_bytes() == whole + last


def test_nothing_but_a_cut_off_line_is_an_empty_log(path):
    path.parent.mkdir()
    path.write_bytes(b'{"key": "one", "los')
    with MeasurementLog(path) as log:
        assert "one" not in log
    assert path.read_bytes() == b""


def test_line_of_something_else_is_named(path):
    path.parent.mkdir()
    path.write_text('{"key": "one", "losses": {}, "seconds": 1}\n{"name": "two"}\n')
    with pytest.raises(UserError, match=r"losses\.jsonl:2: is no line that this job writes"):
        MeasurementLog(path)


def test_only_one_search_at_a_time(path):
    with MeasurementLog(path), pytest.raises(UserError, match="another run is writing it"):
        MeasurementLog(path)

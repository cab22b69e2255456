"""Rolling commits: when, in which order, and what is counted once."""

import threading

import pytest

from eshop_ray.config import TableSection
from eshop_ray.enrichment.commits import Committer
from eshop_ray.enrichment.histogram import Histogram
from eshop_ray.enrichment.result_writer import HISTOGRAMS
from eshop_ray.enrichment.table import DataFile
from tests.waiting import wait_until

FILE = DataFile("part.parquet", 1, 1, 0, "{}", {})


class Writer:
    """Notes what is committed."""

    def __init__(self, name, log, fails=False):
        self.name, self.log, self.fails = name, log, fails
        self.snapshot = type("Snapshot", (), {"files": (FILE, FILE)})

    def commit(self, files, deleted):
        if self.fails:
            raise OSError("full")
        self.log.append((self.name, len(files), deleted))


def report(shard, bad=False, old=(), inferred=2):
    histograms = {name: Histogram().to_dict()["counts"] for name in HISTOGRAMS}
    counts = {"t/inferred": inferred, "t/generated_tokens": 10}
    file = FILE.to_row()
    return {
        "shard": shard,
        "enriched": file,
        "quarantine": file if bad else None,
        "old": list(old),
        "old_bad": [],
        "counts": counts,
        "histograms": histograms,
        "examples": [],
    }


def committer(log, fails=False, **settings):
    return Committer(Writer("enriched", log, fails), Writer("quarantine", log), TableSection(**settings))


def test_every_few_files_make_a_commit_and_the_rest_the_last():
    log = []
    committer(log, commit_files=2).consume(report(str(number)) for number in range(5))
    assert [entry[:2] for entry in log] == [("enriched", 2), ("enriched", 2), ("enriched", 1)]


def test_quarantine_is_committed_first_and_superseded_rows_go_along():
    log = []
    committer(log).consume([report("a", bad=True, old=[(1, 7), (1, 9)])])
    assert log == [("quarantine", 1, {}), ("enriched", 1, {"part.parquet": [7, 9]})]


def test_unit_that_comes_twice_counts_once():
    log = []
    taken = committer(log)
    taken.consume([report("a"), report("a"), report("b")])
    assert [entry[1] for entry in log] == [2]
    assert taken.counts["t/inferred"] == 4
    assert taken.throughput[-1][1:] == (4, 20)


def test_finished_file_is_committed_while_the_next_is_awaited():
    log, go_on = [], threading.Event()

    def slow():
        yield report("a")
        go_on.wait(10)
        yield report("b")

    taken = committer(log, commit_seconds=0.05)
    thread = threading.Thread(target=taken.consume, args=(slow(),))
    thread.start()
    wait_until(lambda: log, "the first commit", timeout_s=5)
    assert [entry[1] for entry in log] == [1]
    go_on.set()
    thread.join(5)
    assert [entry[1] for entry in log] == [1, 1]


def test_trouble_of_the_pass_reaches_the_user_after_the_finished_files_are_committed():
    def broken():
        yield report("a")
        raise ValueError("engine gone")

    log = []
    with pytest.raises(ValueError, match="engine gone"):
        committer(log).consume(broken())
    assert [entry[1] for entry in log] == [1]


def test_trouble_of_the_table_is_what_the_user_sees():
    with pytest.raises(OSError, match="full"):
        committer([], fails=True).consume([report("a")])

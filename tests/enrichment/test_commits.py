"""Rolling commits: when, in which order, and what is counted once."""

import threading
from datetime import UTC, datetime

import pytest

from eshop_ray.config import TableSection
from eshop_ray.enrichment.canary import Canary, CanaryError, Limits
from eshop_ray.enrichment.canary.reference import Reference
from eshop_ray.enrichment.commits import Committer, PendingParts
from eshop_ray.enrichment.merge import BAD_RESULTS, ENRICHED_RESULTS, Merge
from eshop_ray.enrichment.outcome import RunInfo
from eshop_ray.enrichment.placing import bucket_of
from eshop_ray.enrichment.result_writer import ShardReport
from eshop_ray.enrichment.table import Writer
from eshop_ray.enrichment.tables import enriched_table, quarantine_table
from eshop_ray.errors import UserError
from eshop_ray.exchange import Exchange
from eshop_ray.storage import Storage
from eshop_ray.tasks import get_task, list_tasks
from tests.waiting import wait_until

NUM_BUCKETS = 4
INFO = RunInfo("run", "digest", datetime(2026, 11, 27, tzinfo=UTC), {name: get_task(name) for name in list_tasks()})


class Night:
    """Both tables, what goes into them, and a note of each commit."""

    def __init__(self, folder, **settings):
        self.enriched = enriched_table(str(folder / "enriched"))
        self.quarantine = quarantine_table(str(folder / "bad"))
        for table in (self.enriched, self.quarantine):
            table.create(NUM_BUCKETS)
        self.log = []
        self.writers = [Noting(table, name, self.log) for table, name in self._tables()]
        (folder / "staging").mkdir(exist_ok=True)
        storage = Storage(str(folder / "staging"))
        self.results = Exchange(storage, "enriched", ENRICHED_RESULTS, NUM_BUCKETS)
        self.bad = Exchange(storage, "bad", BAD_RESULTS, NUM_BUCKETS)
        merge = Merge(self.enriched, self.quarantine, self.results, self.bad, "run")
        self.committer = Committer(*self.writers, merge, TableSection(**settings), run=map)

    def _tables(self):
        return (self.enriched, "enriched"), (self.quarantine, "quarantine")

    def report(self, shard, products, home=None, bad=(), cleared=(), replaces=False):
        """A finished shard: `products` got the answer `shard`, those of `bad` none."""
        report = ShardReport(shard)
        for product in products:
            row = {"product_id": product, "task": "ner_tagging", "status": "enriched", "prediction": f'"{shard}"'}
            report.add_rows([{**row, "key": product, "replaces": replaces}], [])
        for product in bad:
            row = {"fingerprint": f"mark-{product}", "product_id": product, "task": "ner_tagging", "reason": "engine"}
            report.add_rows([], [row])
        for product in cleared:
            report.bad.append({"fingerprint": f"mark-{product}", "product_id": product})
        report.homes = {bucket_of(home or next(iter(products), "p0"), NUM_BUCKETS)}
        report.counts.update({"t/inferred": 2, "t/generated_tokens": 10})
        return report.write(self.results, self.bad)

    def rows(self):
        files = self.enriched.snapshot().files
        found = [row for file in files for row in self.enriched.read_file(file).to_pylist()]
        assert len({row["product_id"] for row in found}) == len(found)
        assert all(bucket_of(row["product_id"], NUM_BUCKETS) == row["bucket"] - NUM_BUCKETS for row in found)
        return {row["product_id"]: row["prediction"] for row in found}

    def marks(self):
        files = self.quarantine.snapshot().files
        return sorted(
            row["fingerprint"] for file in files for row in self.quarantine.read_file(file, ["fingerprint"]).to_pylist()
        )


class Noting(Writer):
    def __init__(self, table, name, log):
        super().__init__(table, "run")
        self._name, self._log = name, log

    def commit(self, added, removed, is_change=True):
        self._log.append((self._name, len(added), len(removed)))
        return super().commit(added, removed, is_change)


def same_bucket(number):
    """Products of one bucket."""
    found = (f"p{index}" for index in range(1000))
    return [name for name in found if bucket_of(name, NUM_BUCKETS) == 1][:number]


def test_every_few_shards_make_a_commit_and_the_rest_the_last(tmp_path):
    night = Night(tmp_path, commit_files=2)
    night.committer.consume(night.report(f"s{number}", [f"p{number}"]) for number in range(5))
    assert [name for name, _, _ in night.log] == ["enriched"] * 3
    assert night.rows() == {f"p{number}": f'"s{number}"' for number in range(5)}


def test_rows_give_way_to_those_that_replace_them_and_others_stay(tmp_path):
    one, two, three = same_bucket(3)
    night = Night(tmp_path)
    night.committer.consume([night.report("first", [one, two])])
    night.committer.consume([night.report("second", [two], replaces=True), night.report("third", [three])])
    assert night.rows() == {one: '"first"', two: '"second"', three: '"third"'}
    assert night.log[-1] == ("enriched", 1, 1), "the bucket stands in one file"


def test_new_rows_rewrite_nothing(tmp_path):
    one, two = same_bucket(2)
    night = Night(tmp_path)
    night.committer.consume([night.report("first", [one])])
    night.committer.consume([night.report("second", [two])])
    assert night.log == [("enriched", 1, 0)] * 2


def test_partition_of_many_files_becomes_one(tmp_path):
    night = Night(tmp_path, commit_files=1)
    names = same_bucket(12)
    night.committer.consume(night.report(f"s-{name}", [name]) for name in names)
    assert len(night.enriched.snapshot().files) <= 8
    assert set(night.rows()) == set(names)


def test_quarantine_is_committed_first_and_is_left_by_what_is_well(tmp_path):
    one, two = same_bucket(2)
    night = Night(tmp_path)
    night.committer.consume([night.report("a", [one], bad=[one, two])])
    assert [name for name, _, _ in night.log] == ["quarantine", "enriched"]
    assert night.marks() == sorted([f"mark-{one}", f"mark-{two}"])
    night.committer.consume([night.report("b", [], home=one, cleared=[one])])
    assert night.marks() == [f"mark-{two}"]
    night.committer.consume([night.report("c", [], home=one, cleared=[two])])
    assert night.marks() == []
    assert night.quarantine.snapshot().files == ()


def test_rows_of_other_buckets_wait_for_theirs_or_the_end(tmp_path):
    here = same_bucket(1)
    elsewhere = next(f"q{index}" for index in range(100) if bucket_of(f"q{index}", NUM_BUCKETS) == 2)
    night = Night(tmp_path, commit_files=1)
    night.committer.consume([night.report("a", [*here, elsewhere], home=here[0])], is_last=False)
    assert set(night.rows()) == set(here)
    night.committer.flush(is_last=True)
    assert set(night.rows()) == {*here, elsewhere}


def test_shard_that_comes_twice_counts_once(tmp_path):
    night = Night(tmp_path)
    night.committer.consume([night.report("a", ["p1"]), night.report("a", ["p1"]), night.report("b", ["p2"])])
    assert night.committer.counts["t/inferred"] == 4
    assert night.committer.throughput[-1][1:] == (4, 20)
    assert set(night.rows()) == {"p1", "p2"}


def test_finished_shard_is_committed_while_the_next_is_awaited(tmp_path):
    night, go_on = Night(tmp_path, commit_seconds=0.05), threading.Event()

    def slow():
        yield night.report("a", ["p1"])
        go_on.wait(10)
        yield night.report("b", ["p2"])

    thread = threading.Thread(target=night.committer.consume, args=(slow(),))
    thread.start()
    wait_until(lambda: night.log, "the first commit", timeout_s=5)
    go_on.set()
    thread.join(5)
    assert set(night.rows()) == {"p1", "p2"}
    assert len(night.log) == 2


def test_trouble_of_the_pass_reaches_the_user_after_the_finished_shards_are_committed(tmp_path):
    night = Night(tmp_path)

    def broken():
        yield night.report("a", ["p1"])
        raise ValueError("engine gone")

    with pytest.raises(ValueError, match="engine gone"):
        night.committer.consume(broken())
    assert set(night.rows()) == {"p1"}


def test_trouble_of_the_table_is_what_the_user_sees(tmp_path):
    night = Night(tmp_path)
    Writer(night.enriched, "another")
    with pytest.raises(UserError, match="took over the table"):
        night.committer.consume([night.report("a", ["p1"])])


def test_damaged_file_is_named_and_nothing_is_committed(tmp_path):
    one, two = same_bucket(2)
    night = Night(tmp_path)
    night.committer.consume([night.report("a", [one, two])])
    (file,) = night.enriched.snapshot().files
    (tmp_path / "enriched" / file.path).write_bytes(b"junk")
    with pytest.raises(UserError, match="is damaged"):
        night.committer.consume([night.report("b", [one], replaces=True)])
    assert night.enriched.snapshot().files == (file,)


def canary_report(night, number, failed):
    report = night.report(f"canary-{number}", [f"p{number}"])
    return {**report, "answers": [[f"p{number}", failed, None if failed else '"x"', 5]] * 8}


def test_parts_are_forgotten_once_all_their_rows_are_on_their_way():
    pending = PendingParts()
    pending.add([{"name": "both", "offsets": [0, 5, 5, 9]}, {"name": "none", "offsets": [0, 0, 0, 0]}])
    assert (pending.buckets, pending.take(1)) == ({0, 2}, [])
    assert pending.take(0) == ["both"]
    assert [part["name"] for part in pending.rows(["both"])] == ["both"]
    assert pending.take(2) == ["both"]
    assert [part["offsets"].tolist() for part in pending.rows(["both"])] == [[0, 5, 5, 9]]
    assert pending._rows == {}


def hold(night, num_shards=2):
    shards = [{"shard": f"canary-{number}", "task": "ner_tagging"} for number in range(num_shards)]
    canary = Canary(
        shards, {"ner_tagging": Reference()}, Limits(0.1, 0.4, 2.0), "model", {"ner_tagging": get_task("ner_tagging")}
    )
    night.committer.hold(canary)


def test_nothing_is_committed_before_the_canary_is_complete(tmp_path):
    night = Night(tmp_path, commit_files=1)
    hold(night)
    seen = []

    def reports():
        for report in (night.report("bulk", ["p7"]), *(canary_report(night, number, False) for number in range(2))):
            yield report
            seen.append(len(night.log))

    night.committer.consume(reports())
    assert seen[:2] == [0, 0]
    assert set(night.rows()) == {"p0", "p1", "p7"}


@pytest.mark.parametrize("num_finished", [1, 2])
def test_canary_that_fails_commits_nothing_whole_or_in_part(tmp_path, num_finished):
    night = Night(tmp_path, commit_files=1)
    hold(night)
    with pytest.raises(CanaryError, match="ner_tagging: in the canary"):
        night.committer.consume(
            [night.report("bulk", ["p7"]), *(canary_report(night, number, True) for number in range(num_finished))]
        )
    assert night.log == []


@pytest.mark.parametrize("failed", [False, True])
def test_trouble_of_the_pass_commits_what_the_canary_lets_through(tmp_path, failed):
    night = Night(tmp_path)
    hold(night)

    def broken():
        yield canary_report(night, 0, failed)
        raise ValueError("engine gone")

    with pytest.raises(ValueError, match="engine gone"):
        night.committer.consume(broken())
    assert set(night.rows()) == (set() if failed else {"p0"})

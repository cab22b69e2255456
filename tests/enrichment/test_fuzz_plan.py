"""Nights without Ray and without a model over random input: whatever is read, every row has one outcome."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from eshop_ray.config import ReviewsSection
from eshop_ray.config.files import CatalogOptions
from eshop_ray.enrichment.canary import Candidates, draw
from eshop_ray.enrichment.columns import ENRICHED_SCHEMA, QUARANTINE_SCHEMA
from eshop_ray.enrichment.placing import bucket_of
from eshop_ray.enrichment.plan import QUARANTINE_ROWS
from eshop_ray.enrichment.planning import (
    Plan,
    PlanInputs,
    bucket_items,
    cut_shards,
    divide_buckets,
    group_files,
    number_files,
    plan_actions,
    resolve_asked,
    sort_keys,
)
from eshop_ray.enrichment.questions import ASK, DELETED, EMPTY, ENRICHED, QUARANTINED
from eshop_ray.enrichment.scan import scan_catalog, scan_reviews
from eshop_ray.enrichment.shards import load_shard
from eshop_ray.enrichment.staging import Staging
from eshop_ray.enrichment.table import DataFile, partition_of
from eshop_ray.enrichment.templates import list_columns
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage, StorageError
from eshop_ray.tasks import get_task
from tests.enrichment.contexts import context_of
from tests.enrichment.junk import catalogues, grow, review_files

TASKS = ("ner_tagging", "summarization", "classification")
NUM_BUCKETS = 2
CONTEXT = context_of(TASKS, ("Garden", "Kitchen"), "answers", 64)
TEMPLATE_TASKS = {name: get_task(name) for name in TASKS}


class KeptTable:
    """A table's rows in memory, as planning reads them: by file, which holds the rows of one bucket."""

    def __init__(self, rows, schema, owners):
        self.rows, self.schema = {}, schema
        for row in rows:
            owner = next(row[name] for name in owners if row[name] is not None)
            self.rows.setdefault(bucket_of(owner, NUM_BUCKETS), []).append(row)

    @property
    def files(self):
        return [DataFile("", 1, len(rows), 0, partition_of(bucket, NUM_BUCKETS)) for bucket, rows in self.rows.items()]

    def read_file(self, file, columns):
        kept = pa.Table.from_pylist(self.rows[file.bucket], self.schema)
        return kept.select(columns).append_column("position", pa.array(range(len(kept)), pa.int64()))


class Shop:
    """Both tables as dictionaries, and the steps of a night up to the engine."""

    def __init__(self, folder):
        self.folder = folder
        self.enriched = {}
        self.quarantine = {}
        self.num_nights = 0

    def night(self, catalog, reviews, replay=False):
        """Bring the tables up to date and return how many rows had which outcome.

        The sum is compared with the rows that were read.
        """
        self.num_nights += 1
        folder = self.folder / f"night-{self.num_nights}"
        folder.mkdir()
        work = Staging(Storage(str(folder)), NUM_BUCKETS, list_columns(CONTEXT.templates))
        table = KeptTable(self.enriched.values(), ENRICHED_SCHEMA, ["product_id"])
        bad = KeptTable(self.quarantine.values(), QUARANTINE_SCHEMA, ["product_id", "fingerprint"])
        products, found, read, paths = self._scan(work, catalog, reviews)
        inputs = PlanInputs(products, found, table, bad)
        asked, resolved = work.exchange("asked", 5), work.exchange("resolved", len(table.files) + 1)
        planned, outcomes, num_duplicates = Plan(asked, resolved), Counter(), 0
        for item in bucket_items(NUM_BUCKETS, table.files, bad.files):
            report = plan_actions(
                item,
                inputs,
                asked,
                resolved,
                CONTEXT,
                paths,
                None,
                replay,
                holds_missing=read["num_unreadable_products"] > 0,
            )
            planned.add(report)
            num_duplicates += report["counts"].get("num_duplicates", 0)
            for name, count in report["counts"].items():
                if name.endswith(("/unchanged", "/quarantined")):
                    outcomes[name.rpartition("/")[2]] += count
        outcomes += self._settle([*self._answer(work, planned, table), *self._resolved(planned, table)])
        num_rows = (read["num_rows"] - num_duplicates) * len(TASKS) + num_duplicates + read["num_unreadable"]
        assert sum(outcomes.values()) == num_rows + outcomes["deleted"]
        assert {key for key, row in self.enriched.items() if row["status"] == QUARANTINED} == {
            (row["product_id"], row["task"]) for row in self.quarantine.values() if row["task"]
        }
        return outcomes

    def _scan(self, work, catalog, reviews):
        read, paths = Counter(), []
        products, found = work.exchange("products"), work.exchange("reviews")
        parts, review_parts = [], []
        for ending, data in catalog:
            file = self._write(f"products-{len(paths)}.{ending}", data, paths)
            counted = scan_catalog(file, CatalogOptions(), work.columns, products)
            parts += counted["parts"]
            read.update({name: counted[name] for name in ("num_rows", "num_unreadable")})
            read["num_unreadable_products"] += counted["num_unreadable"]
        for data in reviews:
            file = self._write(f"reviews-{len(paths)}.jsonl", data, paths)
            counted = scan_reviews(file, ReviewsSection(), found, products)
            parts += counted["bad_parts"]
            review_parts += counted["parts"]
            read["num_unreadable"] += counted["num_unreadable"]
        return products.with_parts(parts), found.with_parts(review_parts), read, paths

    def _write(self, name, data, paths):
        path = self.folder / name
        path.write_bytes(grow(data))
        paths.append(str(path))
        return {"path": str(path), "number": len(paths) - 1}

    def _answer(self, work, planned, table):
        """Give every question that the table does not answer its answer, as an engine does that never fails."""
        keys, parts = work.exchange("keys", 5), []
        for group in group_files(number_files(table.files)):
            parts += sort_keys(group, table, keys, planned.key_beginnings)["parts"]
        keys, questions = keys.with_parts(parts), work.exchange("questions")
        candidates = Candidates(7)
        asked, question_parts, num_questions = planned.asked.with_parts(planned.asked_parts), [], Counter()
        for buckets in divide_buckets(planned.num_asked, 4):
            report = resolve_asked(buckets, asked, keys, planned.resolved, questions, candidates.num_rows)
            for task, hashes in report["candidates"].items():
                candidates.add(task, hashes)
            question_parts += report["question_parts"]
            num_questions.update({int(bucket): number for bucket, number in report["questions"].items()})
            planned.copied.update(report["resolved"])
            planned.resolved_parts += report["resolved_parts"]
        questions = questions.with_parts(question_parts)
        for buckets in divide_buckets(num_questions, 4):
            for shard in cut_shards(buckets, questions, 4, draw(candidates))["shards"]:
                for row in load_shard(shard, work.storage, TEMPLATE_TASKS).to_pylist():
                    assert row["error"] is None
                    yield from ({**one, "task": row["task"], "key": row["id"], "status": ASK} for one in row["targets"])

    def _resolved(self, planned, table):
        """What needs no engine; what is copied has the prediction that it is said to have."""
        resolved = planned.resolved.with_parts(planned.resolved_parts)
        buckets = list(table.rows)
        rows = [(file, row) for file in sorted(planned.copied) for row in resolved.read(file + 1).to_pylist()]
        assert len(rows) == len(resolved.read(0, resolved.num_buckets))
        for file, row in rows:
            if row["copy_file"] is not None:
                copied = table.rows[buckets[file]][row["copy_position"]]
                assert (row["copy_file"], copied["task"]) == (file, row["task"])
                assert row["status"] == DELETED or copied["prediction_key"] == row["key"]
            yield row

    def _settle(self, rows):
        """Write the tables anew: what a row says that it replaces and clears is there, and nothing else is."""
        for row in rows:
            owner = row["product_id"], row["task"]
            assert row["replaces"] == (row["task"] is not None and owner in self.enriched)
            assert row["clears"] == (row["fingerprint"] in self.quarantine)
        answered = {owner: row["prediction_key"] for owner, row in self.enriched.items()}
        for row in rows:
            self.enriched.pop((row["product_id"], row["task"]), None)
            self.quarantine.pop(row["fingerprint"], None)
        for row in rows:
            self._put(row, answered)
        return Counter(QUARANTINED if row["status"] == QUARANTINED else row["change"] for row in rows if row["status"])

    def _put(self, row, answered):
        if row["status"] is None:
            return
        if row["status"] == QUARANTINED:
            assert row["fingerprint"] not in self.quarantine
            self.quarantine[row["fingerprint"]] = {name: row[name] for name in QUARANTINE_ROWS.names}
        if row["task"] is not None:
            owner = row["product_id"], row["task"]
            assert owner not in self.enriched
            kept = {name: row[name] for name in ("product_id", "task", "key")}
            status = ENRICHED if row["status"] == ASK else row["status"]
            last = answered.get(owner) if status in (DELETED, QUARANTINED) else None
            prediction_key = row["key"] if status == ENRICHED else last
            self.enriched[owner] = {**kept, "status": status, "prediction_key": prediction_key}


def place_values(columns, num_buckets):
    """As test_exchange.py proves of the one that takes a database each time."""
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    owners = (next((value for value in row if value is not None), "") for row in rows)
    return np.array([bucket_of(owner, num_buckets) for owner in owners], np.int64)


def fuzz(num_nights):
    """Return what makes a test of so many series of nights of a function."""

    def decorate(test):
        test = example([([("jsonl", b'[{"id": 1}, {"id": 1}, {"id": 1}, 3, {}]')], [])], False)(test)
        test = example([([], [b"[\n{}"])], False)(test)  # nor two on one line
        test = example([([("csv", b"\na\n" + b"x" * 200_000)], [])], False)(test)  # two bad rows must not count as one
        test = given(st.lists(st.tuples(catalogues(), review_files), min_size=1, max_size=3), st.booleans())(test)
        return settings(
            max_examples=num_nights,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(test)

    return decorate


@fuzz(25)
def test_every_row_of_every_night_has_one_outcome(nights, replay):
    check_outcomes(nights, replay)


@pytest.mark.slow
@pytest.mark.timeout(400)
@fuzz(400)
def test_every_row_of_many_nights_has_one_outcome(nights, replay):
    check_outcomes(nights, replay)


def check_outcomes(nights, replay):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module in ("placing", "planning"):
            patch.setattr(f"eshop_ray.enrichment.{module}.place_values", place_values)
        shop = Shop(Path(folder))
        for catalog, reviews in nights:
            try:
                shop.night(catalog, reviews, replay)
                outcomes = shop.night(catalog, reviews)
            except StorageError:
                raise
            except UserError:
                event("refused")
                continue
            event("planned")
            assert set(+outcomes) <= {"unchanged", "quarantined"}
            assert {row["status"] for row in shop.enriched.values()} <= {ENRICHED, EMPTY, QUARANTINED, DELETED}

"""Nights without Ray and without a model over random input: whatever is read, every row has one outcome."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from eshop_ray.config import ReviewsSection
from eshop_ray.config.files import CatalogOptions
from eshop_ray.enrichment.plan import PREVIOUS_ROWS, QUARANTINE_ROWS
from eshop_ray.enrichment.questions import ASK, DELETED, EMPTY, ENRICHED, QUARANTINED, PromptContext, list_columns
from eshop_ray.enrichment.scan import bucket_of, scan_catalog, scan_reviews
from eshop_ray.enrichment.shards import load_shard
from eshop_ray.enrichment.staging import Staging, plan_actions, resolve_asked
from eshop_ray.errors import UserError
from tests.enrichment.junk import catalogues, grow, review_files

TASKS = ("ner_tagging", "summarization", "classification")
NUM_BUCKETS = 3
BUCKETS = range(NUM_BUCKETS)


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
        work = Staging(str(self.folder / f"night-{self.num_nights}"), NUM_BUCKETS)
        read = self._scan(work, catalog, reviews)
        self._sort(work)
        context = PromptContext(TASKS, ("Garden", "Kitchen"), "answers", 64)
        outcomes, num_duplicates = Counter(), 0
        for bucket in BUCKETS:
            counts = plan_actions(bucket, work, context, None, replay)["counts"]
            num_duplicates += counts.get("num_duplicates", 0)
            for name, count in counts.items():
                if name.endswith(("/unchanged", "/quarantined")):
                    outcomes[name.rpartition("/")[2]] += count
        outcomes += self._settle(work)
        num_rows = (read["num_rows"] - num_duplicates) * len(TASKS) + num_duplicates + read["num_unreadable"]
        assert sum(outcomes.values()) == num_rows + outcomes["deleted"]
        assert {key for key, row in self.enriched.items() if row["status"] == QUARANTINED} == {
            (row["product_id"], row["task"]) for row in self.quarantine.values() if row["task"]
        }
        return outcomes

    def _scan(self, work, catalog, reviews):
        read = Counter()
        products = work.shuffle("products")
        for number, (ending, data) in enumerate(catalog):
            file = self._write(f"products-{number}.{ending}", number, data)
            counted = scan_catalog(file, CatalogOptions(), list_columns(TASKS), products, NUM_BUCKETS)
            read.update({name: counted[name] for name in ("num_rows", "num_unreadable")})
        for number, data in enumerate(reviews):
            file = self._write(f"reviews-{number}.jsonl", number, data)
            counted = scan_reviews(file, ReviewsSection(), work.shuffle("reviews"), products, NUM_BUCKETS)
            read["num_unreadable"] += counted["num_unreadable"]
        return read

    def _write(self, name, number, data):
        path = self.folder / name
        path.write_bytes(grow(data))
        return {"path": str(path), "number": number}

    def _sort(self, work):
        """Last night's rows in files of one row each, by their position in the dictionary."""
        by_product, by_key, bad = [], [], []
        for number, row in enumerate(self.enriched.values()):
            place = {**row, "file": number, "position": 0}
            by_product.append((bucket_of(row["product_id"], NUM_BUCKETS), place))
            if row["has_prediction"]:
                by_key.append((bucket_of(row["key"], NUM_BUCKETS), place))
        for number, row in enumerate(self.quarantine.values()):
            owner = row["product_id"] or row["fingerprint"]
            bad.append((bucket_of(owner, NUM_BUCKETS), {**row, "file": number, "position": 0}))
        work.shuffle("previous").write("file-0", by_product, PREVIOUS_ROWS)
        work.shuffle("keys").write("file-0", by_key, PREVIOUS_ROWS)
        work.shuffle("quarantined").write("file-0", bad, QUARANTINE_ROWS)

    def _settle(self, work):
        """Give every question its answer, as an engine does that never fails, and write the tables anew."""
        shards = resolve_asked(list(BUCKETS), work, 4)["shards"]
        answered = [
            {**target, "task": row["task"], "key": row["id"], "status": ASK}
            for shard in shards
            for row in load_shard(shard, 0.0, True).to_pylist()
            for target in row["targets"]
        ]
        every_file = [-1, *range(len(self.enriched))]
        rows = [*work.shuffle("resolved").read(every_file), *answered]
        old, old_bad = list(self.enriched), list(self.quarantine)
        for row in rows:
            if row["old_file"] is not None:
                del self.enriched[old[row["old_file"]]]
            if row["bad_file"] is not None:
                del self.quarantine[old_bad[row["bad_file"]]]
        for row in rows:
            self._put(row)
        return Counter(QUARANTINED if row["status"] == QUARANTINED else row["change"] for row in rows if row["status"])

    def _put(self, row):
        if row["status"] is None:
            return
        if row["status"] == QUARANTINED:
            assert row["fingerprint"] not in self.quarantine
            self.quarantine[row["fingerprint"]] = {name: row[name] for name in QUARANTINE_ROWS.names[:5]}
        if row["task"] is not None:
            assert (row["product_id"], row["task"]) not in self.enriched
            status = ENRICHED if row["status"] == ASK else row["status"]
            kept = {"product_id": row["product_id"], "task": row["task"], "key": row["key"], "status": status}
            has_prediction = status in (ENRICHED, DELETED)
            self.enriched[row["product_id"], row["task"]] = {**kept, "has_prediction": has_prediction}


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


@fuzz(60)
def test_every_row_of_every_night_has_one_outcome(nights, replay):
    check_outcomes(nights, replay)


@pytest.mark.slow
@fuzz(400)
def test_every_row_of_many_nights_has_one_outcome(nights, replay):
    check_outcomes(nights, replay)


def check_outcomes(nights, replay):
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        for catalog, reviews in nights:
            try:
                shop.night(catalog, reviews, replay)
                outcomes = shop.night(catalog, reviews)
            except UserError:
                event("refused")
                continue
            event("planned")
            assert set(+outcomes) <= {"unchanged", "quarantined"}
            assert {row["status"] for row in shop.enriched.values()} <= {ENRICHED, EMPTY, QUARANTINED, DELETED}

"""Finished shards -> merged buckets -> rolling commits of both tables, and the sums of what they report."""

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np

from eshop_ray.config import TableSection
from eshop_ray.enrichment.canary import Canary, CanaryError
from eshop_ray.enrichment.histogram import Histogram
from eshop_ray.enrichment.merge import Merge
from eshop_ray.enrichment.result_writer import HISTOGRAMS
from eshop_ray.enrichment.table import DataFile, Writer
from eshop_ray.map_tasks import run_beside
from eshop_ray.progress import LOG_SECONDS, describe
from eshop_ray.schema import Row

logger = logging.getLogger(__name__)


EXAMPLES_PER_RUN = 10
"""Rows that the report shows."""
MAX_POINTS = 500
RunTasks = Callable[[Callable[[Any], Row], Sequence[Any]], Iterable[Row]]
BUCKETS_PER_COMMIT = 256
"""Files of one entry of the log: a few for each bucket and task."""


class Committer:
    """Takes reports of shards, and every few of them puts what they gave into both tables.

    Buckets are merged in which most rows of the finished shards belong; what these gave to others waits for theirs, or
    for the end. The quarantine is committed before the enriched table: a kill in between leaves an entry too many
    there, which the next run puts right, and never a row whose trouble nothing explains.

    While there is a canary that is not judged, nothing is committed.
    """

    def __init__(
        self, enriched: Writer, quarantine: Writer, merge: Merge, config: TableSection, run: RunTasks = run_beside
    ) -> None:
        self.enriched = enriched
        self.quarantine = quarantine
        self.config = config
        self.counts: Counter[str] = Counter()
        self.histograms = {name: Histogram() for name in HISTOGRAMS}
        self.examples: list[Row] = []
        self.num_commits = 0
        self.num_files = 0
        self.throughput: list[tuple[float, int, int]] = []
        self.merge, self._run = merge, run
        self._canary: Canary | None = None
        self._seen: set[str] = set()
        self._num_pending = 0
        self._homes: set[int] = set()
        self._parts = PendingParts()
        self._bad_parts = PendingParts()
        self._started = self._committed = self._shown = time.monotonic()

    def hold(self, canary: Canary) -> None:
        """Commit nothing before this canary is judged."""
        self._canary = canary

    def consume(self, reports: Iterable[Row], num_asked: int = 0, is_last: bool = True) -> None:
        """Take all reports of a pass; whatever ends it, what was finished is committed.

        Args:
            reports: What `ResultWriter` returns, as shards are finished.
            num_asked: Questions among them, for a person who watches.
            is_last: Whether nothing follows; else what belongs to no finished shard's buckets may wait.

        Raises:
            CanaryError: if the canary's answers are not such as the table has; nothing is committed.
        """
        self._started = self._committed = self._shown = time.monotonic()
        try:
            for report in _ticking(reports, min(self.config.commit_seconds / 4, LOG_SECONDS)):
                if report is not None:
                    self.add(report)
                if self._is_due():
                    self.flush()
                if num_asked:
                    self._show(num_asked)
        except CanaryError:
            raise
        except BaseException:
            self._flush_quietly()
            raise
        if is_last:
            self.flush(is_last=True)

    def add(self, report: Row) -> None:
        """Take one report; a shard that was reported before is left out, its rows with it."""
        if report["shard"] in self._seen:
            return
        self._seen.add(report["shard"])
        self._num_pending += bool(report["homes"])
        self._homes.update(report["homes"])
        self._parts.add(report["parts"])
        self._bad_parts.add(report["bad_parts"])
        self.counts.update(report["counts"])
        for name, counts in report["histograms"].items():
            self.histograms[name].merge(Histogram(counts=counts))
        self.examples = sorted([*self.examples, *report["examples"]], key=_is_less_telling)[:EXAMPLES_PER_RUN]
        self._note_throughput()
        if self._canary is not None:
            self._canary.add(report)
            if self._canary.is_complete:
                self._judge()

    @property
    def finished(self) -> Set[str]:
        """Names of the shards that were reported."""
        return self._seen

    def put(self, parts: Iterable[Row], bad_parts: Iterable[Row]) -> None:
        """Put rows into both tables that no shard gave, and commit them."""
        self._parts.add(parts)
        self._bad_parts.add(bad_parts)
        self.flush(is_last=True)

    def flush(self, is_last: bool = False) -> None:
        """Merge what is pending, and commit each table in one version.

        A canary that is not complete is judged by the answers that are there.

        Raises:
            CanaryError: if these are not such as the table has; nothing is committed.
        """
        self._judge()
        buckets = sorted(self._parts.buckets | self._bad_parts.buckets if is_last else self._homes)
        self._num_pending = 0
        self._homes = set()
        self._committed = time.monotonic()
        for start in range(0, len(buckets), BUCKETS_PER_COMMIT):
            self._commit(buckets[start : start + BUCKETS_PER_COMMIT])

    def _commit(self, buckets: Sequence[int]) -> None:
        """Merge some buckets and commit both tables."""
        items: list[Row] = [
            {
                "bucket": bucket,
                "files": [file.to_row() for file in self.enriched.files_of(bucket)],
                "bad_files": [file.to_row() for file in self.quarantine.files_of(bucket)],
                "parts": self._parts.take(bucket),
                "bad_parts": self._bad_parts.take(bucket),
            }
            for bucket in buckets
        ]
        parts = {name for item in items for name in item["parts"]}
        bad_parts = {name for item in items for name in item["bad_parts"]}
        merge = replace(
            self.merge,
            results=self.merge.results.with_parts(self._parts.rows(parts)),
            bad=self.merge.bad.with_parts(self._bad_parts.rows(bad_parts)),
        )
        reports = list(self._run(merge.merge_bucket, items))
        for writer, prefix in ((self.quarantine, "bad_"), (self.enriched, "")):
            added, removed = (
                [DataFile.from_row(row) for report in reports for row in report[f"{prefix}{name}"]]
                for name in ("added", "removed")
            )
            if added or removed:
                writer.commit(added, removed)
                self.num_commits += 1
                self.num_files += len(added)

    def _judge(self) -> None:
        """Let commits go on if the canary passes."""
        if self._canary is not None:
            self._canary.judge()
            self._canary = None

    def _is_due(self) -> bool:
        if self._canary is not None:
            return False
        is_old = time.monotonic() - self._committed >= self.config.commit_seconds
        return self._num_pending >= self.config.commit_files or (self._num_pending > 0 and is_old)

    def _show(self, num_asked: int) -> None:
        now = time.monotonic()
        if now - self._shown >= LOG_SECONDS:
            self._shown = now
            _, rows, tokens = self.throughput[-1] if self.throughput else (0.0, 0, 0)
            logger.info("enriching: %s", describe({"rows": rows, "tokens": tokens}, num_asked, now - self._started))

    def _flush_quietly(self) -> None:
        """Save what is finished while another error is on its way to the user."""
        try:
            self.flush(is_last=True)
        except Exception as error:
            logger.warning("finished rows could not be committed either: %s", type(error).__name__)

    def _note_throughput(self) -> None:
        rows = sum(count for name, count in self.counts.items() if name.endswith("/inferred"))
        tokens = sum(count for name, count in self.counts.items() if name.endswith("/generated_tokens"))
        self.throughput.append((round(time.monotonic() - self._started, 2), rows, tokens))
        if len(self.throughput) > MAX_POINTS:
            self.throughput = self.throughput[1::2]


def _is_less_telling(example: Row) -> bool:
    return bool(example["change"] != "changed")


class PendingParts:
    """Parts of an exchange of results whose rows are not all in a table yet."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._names: dict[int, list[str]] = {}
        self._num_buckets: Counter[str] = Counter()
        """Of each part: with rows that are waiting."""

    @property
    def buckets(self) -> set[int]:
        """Those with rows that are waiting."""
        return set(self._names)

    def add(self, parts: Iterable[Row]) -> None:
        """Take parts, as `Part.to_row` gives them."""
        for part in parts:
            offsets = np.array(part["offsets"], np.int64)
            buckets = np.flatnonzero(np.diff(offsets)).tolist()
            for bucket in buckets:
                self._names.setdefault(bucket, []).append(part["name"])
            if buckets:
                self._rows[part["name"]] = {**part, "offsets": offsets}
                self._num_buckets[part["name"]] = len(buckets)

    def take(self, bucket: int) -> list[str]:
        """Return the names of parts with rows of a bucket, which are waiting no more."""
        names = self._names.pop(bucket, [])
        self._num_buckets.subtract(names)
        return names

    def rows(self, names: Iterable[str]) -> list[Row]:
        """Return parts by name, and forget those of which nothing is waiting: a long night has too many to keep."""
        found = [self._rows[name] for name in names]
        for part in found:
            if not self._num_buckets[part["name"]]:
                del self._rows[part["name"]], self._num_buckets[part["name"]]
        return found


_END = object()


def _ticking(items: Iterable[Row], seconds: float) -> Iterator[Row | None]:
    """Yield items as they come, and None when none came for a while: commits must not wait for the next file."""
    handed: queue.Queue[Any] = queue.Queue(maxsize=64)
    stopped = threading.Event()

    def hand_over() -> None:
        try:
            for item in items:
                handed.put(item)
                if stopped.is_set():
                    return
            handed.put(_END)
        except BaseException as error:
            handed.put(error)

    threading.Thread(target=hand_over, daemon=True).start()
    try:
        while True:
            try:
                item = handed.get(timeout=seconds)
            except queue.Empty:
                yield None
                continue
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):  # makes room for a hand that waits to put
            handed.get_nowait()

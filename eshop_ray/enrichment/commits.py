"""Finished shards -> rolling commits of both tables, and the sums of what they report."""

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eshop_ray.config import TableSection
from eshop_ray.enrichment.histogram import Histogram
from eshop_ray.enrichment.result_writer import HISTOGRAMS
from eshop_ray.enrichment.table import DataFile, Writer
from eshop_ray.progress import LOG_SECONDS, describe
from eshop_ray.schema import Row

logger = logging.getLogger(__name__)


EXAMPLES_PER_RUN = 10
"""Rows that the report shows."""
MAX_POINTS = 500


class Committer:
    """Takes reports of shards and commits them every few files or seconds.

    The quarantine is committed before the enriched table: a kill in between leaves an entry too many there, which the
    next run puts right, and never a row whose trouble nothing explains.
    """

    def __init__(self, enriched: Writer, quarantine: Writer, config: TableSection) -> None:
        self.enriched = enriched
        self.quarantine = quarantine
        self.config = config
        self.counts: Counter[str] = Counter()
        self.histograms = {name: Histogram() for name in HISTOGRAMS}
        self.examples: list[Row] = []
        self.num_commits = 0
        self.num_files = 0
        self.throughput: list[tuple[float, int, int]] = []
        self._seen: set[str] = set()
        self._pending: list[Row] = []
        self._started = self._committed = self._shown = time.monotonic()

    def consume(self, reports: Iterable[Row], num_asked: int = 0) -> None:
        """Take all reports of a pass; whatever ends it, what was finished is committed.

        Args:
            reports: What `ResultWriter` returns, as shards are finished.
            num_asked: Questions among them, for a person who watches.
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
        except BaseException:
            self._flush_quietly()
            raise
        self.flush()

    def add(self, report: Row) -> None:
        """Take one report; a shard that was reported before is left out, its files with it."""
        if report["shard"] in self._seen:
            return
        self._seen.add(report["shard"])
        self._pending.append(report)
        self.counts.update(report["counts"])
        for name, counts in report["histograms"].items():
            self.histograms[name].merge(Histogram(counts=counts))
        self.examples = sorted([*self.examples, *report["examples"]], key=_is_less_telling)[:EXAMPLES_PER_RUN]
        self._note_throughput()

    def flush(self) -> None:
        """Commit what is pending, each table in one version."""
        pending, self._pending = self._pending, []
        self._committed = time.monotonic()
        if not pending:
            return
        for writer, column, old in ((self.quarantine, "quarantine", "old_bad"), (self.enriched, "enriched", "old")):
            files = [DataFile.from_row(report[column]) for report in pending if report[column]]
            deleted = _by_path(writer, (place for report in pending for place in report[old]))
            if files or deleted:
                writer.commit(files, deleted)
                self.num_commits += 1
                self.num_files += len(files)

    def _is_due(self) -> bool:
        is_old = time.monotonic() - self._committed >= self.config.commit_seconds
        return len(self._pending) >= self.config.commit_files or (bool(self._pending) and is_old)

    def _show(self, num_asked: int) -> None:
        now = time.monotonic()
        if now - self._shown >= LOG_SECONDS:
            self._shown = now
            _, rows, tokens = self.throughput[-1] if self.throughput else (0.0, 0, 0)
            logger.info("enriching: %s", describe({"rows": rows, "tokens": tokens}, num_asked, now - self._started))

    def _flush_quietly(self) -> None:
        """Save what is finished while another error is on its way to the user."""
        try:
            self.flush()
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


def _by_path(writer: Writer, places: Iterable[tuple[int, int]]) -> Mapping[str, list[int]]:
    deleted: dict[str, list[int]] = {}
    for number, position in places:
        deleted.setdefault(writer.snapshot.files[number].path, []).append(position)
    return deleted


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

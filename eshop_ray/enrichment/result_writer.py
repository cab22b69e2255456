"""What a worker does with finished shards: write what they give to both tables, and report what a commit needs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from eshop_ray.enrichment.canary.sample import read_answered
from eshop_ray.enrichment.histogram import Histogram
from eshop_ray.enrichment.merge import ENRICHED_RESULTS
from eshop_ray.enrichment.outcome import RunInfo, answered_rows, resolved_rows
from eshop_ray.enrichment.placing import bucket_of, place_values
from eshop_ray.enrichment.questions import DELETED, QUARANTINED
from eshop_ray.enrichment.shards import is_canary
from eshop_ray.enrichment.table import DataFile, Table
from eshop_ray.exchange import Exchange
from eshop_ray.schema import Row
from eshop_ray.tasks import Task

NO_FILE = -1
"""Where resolved rows stand that copy from no file."""

EXAMPLES_PER_SHARD = 3
"""Rows that a shard offers to the report."""


class ResultWriter:
    """Writes what finished shards give to both tables; picklable, one for all workers of a run."""

    def __init__(
        self, results: Exchange, bad: Exchange, run_id: str, model_digest: str, tasks: Mapping[str, Task]
    ) -> None:
        self.results = results
        self.bad = bad
        self.run_id = run_id
        self.model_digest = model_digest
        self.tasks = tasks

    def write_answers(self, rows: Sequence[Mapping[str, Any]]) -> Row:
        """Write a shard that an engine answered and return its report; of the canary with its `answers`."""
        run_info = self._run_info()
        report = ShardReport(rows[0]["shard"])
        for row in rows:
            enriched, bad = answered_rows(row, run_info)
            report.add_answer(row)
            report.homes.add(bucket_of(row["targets"][0]["product_id"], self.results.num_buckets))
            for target, made in zip(row["targets"], enriched, strict=True):
                report.add_target(target, row["task"], is_bad=bool(bad))
                report.add_example(target, made)
            report.add_rows(enriched, bad)
        answers = [list(astuple(one)) for one in read_answered(rows)] if is_canary(report.shard) else []
        return {**report.write(self.results, self.bad), "answers": answers}

    def write_resolved(
        self, file_number: int, enriched: Table, files: Sequence[DataFile], resolved: Exchange, rows_per_part: int
    ) -> Iterator[Row]:
        """Write the rows that need no engine, those that copy from one file together, and yield their reports."""
        rows = resolved.read(file_number + 1).to_pylist()
        source = None if file_number == NO_FILE else enriched.read_file(files[file_number], ENRICHED_RESULTS.names[:-1])
        for start in range(0, len(rows), rows_per_part):
            chunk = rows[start : start + rows_per_part]
            report = ShardReport(f"resolved-{file_number + 1:06d}-{start:09d}")
            places = [row["copy_position"] for row in chunk]
            copied = [None] * len(chunk) if source is None else source.take(places).to_pylist()
            for row, old in zip(chunk, copied, strict=True):
                enriched_made, bad = resolved_rows(row, old, self._run_info())
                report.add_rows(enriched_made, bad)
                report.add_resolved(row)
                for made in enriched_made:
                    report.add_example(row, made)
            yield report.write(self.results, self.bad)

    def _run_info(self) -> RunInfo:
        return RunInfo(self.run_id, self.model_digest, datetime.now(UTC), self.tasks)


class ShardReport:
    """What the driver has to know of one shard."""

    def __init__(self, shard: str) -> None:
        self.shard = shard
        self.counts: Counter[str] = Counter()
        self.lengths: dict[str, list[int]] = {name: [] for name in HISTOGRAMS}
        self.enriched: list[Row] = []
        self.bad: list[Row] = []
        self.homes: set[int] = set()
        """Buckets of the products that asked first: where most of its rows belong."""
        self.examples: list[Row] = []

    def add_answer(self, row: Mapping[str, Any]) -> None:
        """Count one answer, whatever it is worth."""
        task = row["task"]
        self.counts[f"{task}/inferred"] += 1
        self.counts[f"{task}/reused"] += len(row["targets"]) - 1
        self.counts[f"{task}/input_tokens"] += row["num_input_tokens"]
        self.counts[f"{task}/generated_tokens"] += row["num_generated_tokens"]
        for name in ("input_tokens", "generated_tokens"):
            self.lengths[name].append(row[f"num_{name}"])
        self.lengths["prediction_characters"].append(len(row["generated_text"] or ""))

    def add_target(self, target: Mapping[str, Any], task: str, is_bad: bool) -> None:
        """Count one product that an answer is for; where it is good, the product's trouble is over."""
        self.counts[f"{task}/{QUARANTINED if is_bad else target['change']}"] += 1
        self._clear(target, is_bad)

    def add_resolved(self, row: Mapping[str, Any]) -> None:
        """Count one row that needed no engine."""
        if row["status"] is not None:
            outcome = QUARANTINED if row["status"] == QUARANTINED else row["change"]
            self.counts[f"{row['task'] or ''}/{outcome}"] += 1
            self.counts[f"{row['task'] or ''}/{row['status']}_rows"] += 1
            if row["status"] != DELETED and row["copy_file"] is not None:
                self.counts[f"{row['task']}/reused"] += 1
        self._clear(row, row["status"] == QUARANTINED)

    def add_rows(self, enriched: Sequence[Row], bad: Sequence[Row]) -> None:
        """Take rows for both tables."""
        self.enriched += enriched
        self.bad += bad
        for row in bad:
            self.counts[f"new_reason/{row['reason']}"] += 1

    def add_example(self, target: Mapping[str, Any], made: Row) -> None:
        """Keep a few rows to be shown."""
        if made.get("prediction") and len(self.examples) < EXAMPLES_PER_SHARD:
            shown = {name: made[name] for name in ("product_id", "task", "status")}
            self.examples.append({**shown, "change": target["change"], "after": made["prediction"]})

    def write(self, results: Exchange, bad: Exchange) -> Row:
        """Write the rows for both tables into their exchanges and return the report as plain values."""
        parts = _write(results, self.shard, self.enriched, ("product_id",))
        bad_parts = _write(bad, self.shard, self.bad, ("product_id", "fingerprint"))
        return {
            "shard": self.shard,
            "parts": parts,
            "bad_parts": bad_parts,
            "homes": sorted(self.homes),
            "counts": dict(self.counts),
            "histograms": {name: _count_lengths(lengths) for name, lengths in self.lengths.items()},
            "examples": self.examples,
        }

    def _clear(self, row: Mapping[str, Any], is_bad: bool) -> None:
        if row["clears"] and not is_bad:
            self.bad.append({name: row[name] for name in ("product_id", "fingerprint")})


HISTOGRAMS = ("input_tokens", "generated_tokens", "prediction_characters")


def _count_lengths(lengths: Sequence[int]) -> list[int]:
    histogram = Histogram()
    histogram.add(lengths)
    return histogram.counts


def _write(exchange: Exchange, name: str, rows: Sequence[Row], owners: Sequence[str]) -> list[Row]:
    """Write rows as one part, each in the bucket of the first of its `owners` that it has."""
    if not rows:
        return []
    table = pa.Table.from_pylist(list(rows), schema=exchange.schema)
    return [exchange.write(name, table, place_values([table[one] for one in owners], exchange.num_buckets)).to_row()]

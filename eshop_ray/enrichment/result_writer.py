"""What a worker does with finished shards: write the files of both tables, and report what a commit needs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from eshop_ray.enrichment.columns import ENRICHED_SCHEMA, QUARANTINE_SCHEMA
from eshop_ray.enrichment.exchange import Exchange
from eshop_ray.enrichment.histogram import Histogram
from eshop_ray.enrichment.outcome import RunInfo, answered_rows, resolved_rows
from eshop_ray.enrichment.questions import DELETED, QUARANTINED
from eshop_ray.enrichment.table import DataFile, Table
from eshop_ray.schema import Row

NO_FILE = -1
"""Where resolved rows stand that copy from no file."""

EXAMPLES_PER_SHARD = 3
"""Rows that a shard offers to the report."""


class ResultWriter:
    """Writes the files of finished shards; picklable, one for all workers of a run."""

    def __init__(self, enriched: Table, quarantine: Table, run_id: str, model_digest: str) -> None:
        self.enriched = enriched
        self.quarantine = quarantine
        self.run_id = run_id
        self.model_digest = model_digest

    def write_answers(self, rows: Sequence[Mapping[str, Any]]) -> Row:
        """Write a shard that an engine answered and return its report."""
        run_info = self._run_info()
        report = ShardReport(rows[0]["shard"])
        for row in rows:
            enriched, bad = answered_rows(row, run_info)
            report.add_answer(row)
            for target, made in zip(row["targets"], enriched, strict=True):
                report.add_target(target, row["task"], is_bad=bool(bad))
                report.add_example(target, made)
            report.add_rows(enriched, bad)
        return report.write(self.enriched, self.quarantine)

    def write_resolved(
        self, file_number: int, files: Sequence[DataFile], resolved: Exchange, rows_per_file: int
    ) -> Iterator[Row]:
        """Write the rows that need no engine, those that copy from one file together, and yield their reports."""
        rows = resolved.read(file_number + 1).to_pylist()
        for start in range(0, len(rows), rows_per_file):
            chunk = rows[start : start + rows_per_file]
            report = ShardReport(f"resolved-{file_number}-{start}")
            copied = self._take(files[file_number], chunk) if file_number != NO_FILE else [None] * len(chunk)
            for row, old in zip(chunk, copied, strict=True):
                enriched, bad = resolved_rows(row, old, self._run_info())
                report.add_rows(enriched, bad)
                report.add_resolved(row)
                for made in enriched:
                    report.add_example(row, made)
            yield report.write(self.enriched, self.quarantine)

    def _take(self, file: DataFile, rows: Sequence[Row]) -> list[Row]:
        positions = [row["copy_position"] for row in rows]
        taken: list[Row] = self.enriched.take(file, positions, ENRICHED_SCHEMA.names).to_pylist()
        return taken

    def _run_info(self) -> RunInfo:
        return RunInfo(self.run_id, self.model_digest, datetime.now(UTC))


class ShardReport:
    """What the driver has to know of one shard."""

    def __init__(self, shard: str) -> None:
        self.shard = shard
        self.counts: Counter[str] = Counter()
        self.histograms = {name: Histogram() for name in HISTOGRAMS}
        self.enriched: list[Row] = []
        self.bad: list[Row] = []
        self.old: list[list[int]] = []
        self.old_bad: list[list[int]] = []
        self.examples: list[Row] = []

    def add_answer(self, row: Mapping[str, Any]) -> None:
        """Count one answer, whatever it is worth."""
        task = row["task"]
        self.counts[f"{task}/inferred"] += 1
        self.counts[f"{task}/reused"] += len(row["targets"]) - 1
        self.counts[f"{task}/input_tokens"] += row["num_input_tokens"]
        self.counts[f"{task}/generated_tokens"] += row["num_generated_tokens"]
        for name in ("input_tokens", "generated_tokens"):
            self.histograms[name].add([row[f"num_{name}"]])
        self.histograms["prediction_characters"].add([len(row["generated_text"] or "")])

    def add_target(self, target: Mapping[str, Any], task: str, is_bad: bool) -> None:
        """Count one product that an answer is for, and note the rows that give way."""
        self.counts[f"{task}/{QUARANTINED if is_bad else target['change']}"] += 1
        self._add_old(target)

    def add_resolved(self, row: Mapping[str, Any]) -> None:
        """Count one row that needed no engine."""
        if row["status"] is not None:
            outcome = QUARANTINED if row["status"] == QUARANTINED else row["change"]
            self.counts[f"{row['task'] or ''}/{outcome}"] += 1
            self.counts[f"{row['task'] or ''}/{row['status']}_rows"] += 1
            if row["status"] != DELETED and row["copy_file"] is not None:
                self.counts[f"{row['task']}/reused"] += 1
        self._add_old(row)

    def add_rows(self, enriched: Sequence[Row], bad: Sequence[Row]) -> None:
        """Take rows for both tables."""
        self.enriched += enriched
        self.bad += bad
        for row in bad:
            self.counts[f"new_reason/{row['reason']}"] += 1

    def add_example(self, target: Mapping[str, Any], made: Row) -> None:
        """Keep a few rows to be shown; `old` is where the row stands that gives way."""
        if made.get("prediction") and len(self.examples) < EXAMPLES_PER_SHARD:
            shown = {name: made[name] for name in ("product_id", "task", "status")}
            old = [target["old_file"], target["old_position"]] if target["old_file"] is not None else None
            self.examples.append({**shown, "change": target["change"], "after": made["prediction"], "old": old})

    def write(self, enriched: Table, quarantine: Table) -> Row:
        """Write both tables' files and return the report as plain values."""
        return {
            "shard": self.shard,
            "enriched": _write(enriched, self.enriched, ENRICHED_SCHEMA),
            "quarantine": _write(quarantine, self.bad, QUARANTINE_SCHEMA),
            "old": self.old,
            "old_bad": self.old_bad,
            "counts": dict(self.counts),
            "histograms": {name: histogram.to_dict()["counts"] for name, histogram in self.histograms.items()},
            "examples": self.examples,
        }

    def _add_old(self, row: Mapping[str, Any]) -> None:
        if row["old_file"] is not None:
            self.old.append([row["old_file"], row["old_position"]])
        if row["bad_file"] is not None:
            self.old_bad.append([row["bad_file"], row["bad_position"]])


HISTOGRAMS = ("input_tokens", "generated_tokens", "prediction_characters")


def _write(table: Table, rows: Sequence[Row], schema: pa.Schema) -> Row | None:
    if not rows:
        return None
    file: Row = table.write_file(pa.Table.from_pylist(list(rows), schema=schema)).to_row()
    return file

"""A nightly run: catalogue, reviews and last night's table in; the table, current again, out.

files --scan--> products and reviews }
table --sort--> previous rows, keys  } in buckets --plan--> asked ----resolve--> shards --engine--> files --> commits
                                                        +-> resolved: tombstones, trouble, known answers -->
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree

import pyarrow as pa
from ray.data import Dataset

from eshop_ray.artifacts import fingerprint
from eshop_ray.data.cleaning import check_labels
from eshop_ray.datasets import bound_stream, map_items
from eshop_ray.enrichment.map_tasks import map_tasks, read_reports, to_report
from eshop_ray.enrichment.outcome import read_strictly
from eshop_ray.enrichment.questions import PromptContext, get_form, list_columns
from eshop_ray.enrichment.result_writer import ResultWriter
from eshop_ray.enrichment.run import BUCKET_ROWS, Run
from eshop_ray.enrichment.scan import scan_catalog, scan_reviews
from eshop_ray.enrichment.shards import load_shard
from eshop_ray.enrichment.staging import divide_buckets, plan_actions, resolve_asked, sort_enriched, sort_quarantined
from eshop_ray.enrichment.table import Writer
from eshop_ray.errors import UserError
from eshop_ray.inference.answer_identity import identify_answers
from eshop_ray.inference.build import build_engine
from eshop_ray.schema import Row
from eshop_ray.tasks.product import LABELS


def enrich(run: Run) -> None:
    """Bring the run's table up to date with its catalogue.

    Raises:
        UserError: if an input cannot be read as a whole, the table cannot be written, or another run took it over.
            What was committed before stays, and a rerun goes on from there.
    """
    try:
        with run.timed("scan"):
            context = scan(run)
        with run.timed("plan"):
            asked, resolved = plan(run, context)
            shards, copied = resolve(run, asked)
        with run.timed("infer"):
            commit_resolved(run, sorted(resolved | copied))
            infer(run, shards)
    finally:
        rmtree(run.staging.folder, ignore_errors=True)


def scan(run: Run) -> PromptContext:
    """Sort files and tables into buckets of products, and return the context of all questions."""
    staging, config = run.staging, run.config
    products, num_buckets = staging.shuffle("products"), staging.num_buckets
    categories: set[str] = set()
    read = partial(
        scan_catalog,
        options=config.catalog,
        names=list_columns(config.enrich.tasks),
        shuffle=products,
        num_buckets=num_buckets,
    )
    for report in map_tasks(read, run.catalog):
        run.counts.update(num_products=report["num_rows"], num_unreadable=report["num_unreadable"])
        categories.update(report["categories"])
    _check_catalog(run)
    read = partial(
        scan_reviews,
        options=config.reviews,
        shuffle=staging.shuffle("reviews"),
        unreadable=products,
        num_buckets=num_buckets,
    )
    for report in map_tasks(read, run.reviews):
        run.counts.update(num_reviews=report["num_rows"], num_unreadable=report["num_unreadable"])
    for sort, (table, writer) in zip((sort_enriched, sort_quarantined), run.tables, strict=True):
        _sort(partial(sort, table=table, staging=staging), writer)
    return _prompt_context(run, sorted(categories))


def plan(run: Run, context: PromptContext) -> tuple[dict[int, int], set[int]]:
    """Compare every bucket with last night's table.

    Returns:
        Rows to be asked per bucket of keys, and the numbers of the files that resolved rows copy from.
    """
    folder = str(run.model.folder) if run.model.folder else None
    compare = partial(plan_actions, staging=run.staging, context=context, tokenizer_dir=folder, replay=run.replay)
    asked: Counter[int] = Counter()
    resolved: set[int] = set()
    for report in map_tasks(compare, range(run.staging.num_buckets)):
        run.counts.update(report["counts"])
        asked.update({int(bucket): count for bucket, count in report["asked"].items()})
        resolved.update(report["resolved"])
    return dict(asked), resolved


def resolve(run: Run, asked: dict[int, int]) -> tuple[list[Row], set[int]]:
    """Merge equal questions, find those that the table answers, and return shards and the files to copy from."""
    merge = partial(resolve_asked, staging=run.staging, rows_per_shard=run.config.table.rows_per_file)
    shards: list[Row] = []
    copied: set[int] = set()
    for report in map_tasks(merge, list(divide_buckets(asked, BUCKET_ROWS))):
        shards += report["shards"]
        copied.update(report["resolved"])
    return sorted(shards, key=lambda shard: (shard["task"], shard["shard"])), copied


def commit_resolved(run: Run, file_numbers: Sequence[int]) -> None:
    """Write what needs no engine: tombstones, known answers, products without reviews, trouble."""
    write = partial(
        run.result_writer.write_resolved,
        files=run.writer.snapshot.files,
        resolved=run.staging.shuffle("resolved"),
        rows_per_file=run.config.table.rows_per_file,
    )
    run.committer.consume(map_tasks(write, file_numbers))


def infer(run: Run, shards: Sequence[Row]) -> None:
    """Answer the shards and commit their files as they come; without shards no engine is started."""
    if not shards:
        return
    config = run.config.infer
    num_asked = sum(shard["num_rows"] for shard in shards)
    engine = build_engine(config, run.model.folder or Path(), read_strictly, num_asked)
    questions = _load_shards(shards, config.temperature, config.constrained)
    finish = partial(_finish_batch, result_writer=run.result_writer)
    reports = bound_stream(engine(questions).map_batches(finish, batch_format="pyarrow", batch_size=None))
    run.committer.consume(read_reports(reports), num_asked)


def _load_shards(shards: Sequence[Row], temperature: float, constrained: bool) -> Dataset:
    def load(shard: Row) -> Iterator[pa.Table]:
        yield load_shard(shard, temperature, constrained)

    return map_items(load, shards)


def _finish_batch(batch: pa.Table, result_writer: ResultWriter) -> Iterator[pa.Table]:
    """Yield the one report: of a function that returns, Ray Data keeps an error's trace but not the error."""
    yield to_report(result_writer.write_answers(batch.to_pylist()))


def _sort(sort: Callable[[Row], Row], writer: Writer) -> None:
    """Shuffle the files of a table."""
    numbered = [{"number": number, "file": file.to_row()} for number, file in enumerate(writer.snapshot.files)]
    for _ in map_tasks(sort, numbered):
        pass


def _check_catalog(run: Run) -> None:
    """Refuse to turn a whole table into tombstones because an export came out empty.

    Raises:
        UserError: if no product can be read, and the table has rows.
    """
    if run.counts["num_products"] == 0 and run.writer.snapshot.num_rows > 0:
        paths = ", ".join(file["path"] for file in run.catalog[:3])
        raise UserError(
            f"{paths}: no product can be read, but the table has {run.writer.snapshot.num_rows} rows; nothing was "
            "changed. Mend the export, or start a new table with another `table.uri`"
        )


def _prompt_context(run: Run, categories: Sequence[str]) -> PromptContext:
    config = run.config
    labels = tuple(config.catalog.labels) or tuple(categories)
    if any(LABELS in get_form(task).fields for task in config.enrich.tasks):
        check_labels({"of the catalogue (or set `catalog.labels`)": labels})
    return PromptContext(
        tasks=config.enrich.tasks,
        labels=labels,
        answers=fingerprint(identify_answers(config.infer, config.serve, run.model.digest)),
        max_review_tokens=config.reviews.max_tokens,
    )

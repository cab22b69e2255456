"""A nightly run: catalogue, reviews and last night's table in; the table, current again, out.

files --scan--> products, reviews } by bucket --plan--> asked ---resolve--> shards --engine--> results } by bucket
table --------> previous rows     }                +--> resolved: tombstones, trouble, known answers --> }    |
                                                                          table, current again <--commit--merge
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
from ray.data import Dataset

from eshop_ray.artifacts import fingerprint
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.datasets import bound_stream, map_items
from eshop_ray.enrichment.budget import Budget, count_postponed
from eshop_ray.enrichment.canary import Canary, Candidates, Limits, draw, read_reference
from eshop_ray.enrichment.guards import check_limits
from eshop_ray.enrichment.outcome import read_strictly
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
from eshop_ray.enrichment.questions import PromptContext
from eshop_ray.enrichment.result_writer import ResultWriter
from eshop_ray.enrichment.run import MAX_BUCKETS, Night, Run
from eshop_ray.enrichment.scan import scan_catalog, scan_reviews
from eshop_ray.enrichment.shards import is_canary, load_shard
from eshop_ray.errors import UserError
from eshop_ray.exchange import Exchange
from eshop_ray.inference.answer_identity import identify_answers
from eshop_ray.inference.build import build_engine, use_endpoint
from eshop_ray.inference.engines.openai.meter import describe
from eshop_ray.inference.requests import STOPPED
from eshop_ray.map_tasks import map_tasks, read_reports, to_report
from eshop_ray.schema import Row

RESOLVED_ROWS = 25_000
"""Questions that a task merges."""


def enrich(run: Run) -> None:
    """Bring the run's table up to date with its catalogue.

    Raises:
        CanaryError: if the night's first answers are not such as the table has; nothing is committed.
        UserError: if an input cannot be read as a whole, the table cannot be written, or another run took it over.
            What was committed before stays, and a rerun goes on from there.
    """
    with run.timed("scan"):
        inputs, context = scan(run)
    with run.timed("plan"):
        planned = plan(run, inputs, context)
        check_limits(run, planned)
        shards = resolve(run, planned)
    with run.timed("infer"):
        prepare_canary(run, shards)
        write_resolved(run, planned)
        infer(run, shards)
        run.committer.flush(is_last=True)


def scan(run: Night) -> tuple[PlanInputs, PromptContext]:
    """Exchange the files' rows by product, and return what planning reads and the context of all questions."""
    config, exchange = run.config, run.staging.exchange
    products, reviews = exchange("products"), exchange("reviews")
    readers: dict[str, Callable[[Row], Row]] = {
        "products": partial(scan_catalog, options=config.catalog, names=run.staging.columns, products=products),
        "reviews": partial(
            scan_reviews, options=config.reviews, reviews=reviews, products=products, salt=run.enriched.get_id()
        ),
    }
    items = [{**file, "kind": "products"} for file in run.catalog]
    items += [{**file, "kind": "reviews"} for file in run.reviews]
    parts: dict[str, list[Row]] = {kind: [] for kind in readers}
    columns: set[str] = set()
    for report in map_tasks(partial(_read_input, readers=readers), sorted(items, key=_size, reverse=True)):
        kind = report["kind"]
        parts[kind] += report["parts"]
        parts["products"] += report.get("bad_parts", [])
        run.counts.update({f"num_{kind}": report["num_rows"], "num_unreadable": report["num_unreadable"]})
        columns.update(report.get("columns", ()))
        run.counts[f"num_unreadable_{kind}"] += report["num_unreadable"]
    _check_catalog(run)
    _check_fields(run, columns)
    inputs = PlanInputs(
        products.with_parts(parts["products"]), reviews.with_parts(parts["reviews"]), run.enriched, run.quarantine
    )
    return inputs, _prompt_context(run)


def _read_input(item: Row, readers: Mapping[str, Callable[[Row], Row]]) -> Row:
    return {**readers[item["kind"]](item), "kind": item["kind"]}


def _size(item: Row) -> int:
    """Return the bytes of an input: the largest are read first, so that none is waited for alone."""
    return int(item["size"])


def plan(run: Night, inputs: PlanInputs, context: PromptContext) -> Plan:
    """Compare every bucket with last night's table."""
    asked = run.staging.exchange("asked", min(4 * run.staging.num_buckets, MAX_BUCKETS))
    resolved = run.staging.exchange("resolved", len(run.snapshots[0].files) + 1)
    compare = partial(
        plan_actions,
        inputs=inputs,
        asked=asked,
        resolved=resolved,
        context=context,
        paths=[file["path"].partition("?")[0] for file in (*run.catalog, *run.reviews)],
        tokenizer_dir=run.shared_model,
        replay=run.replay,
        holds_missing=run.counts["num_unreadable_products"] > 0,
    )
    planned = Plan(asked, resolved)
    items = bucket_items(run.staging.num_buckets, run.snapshots[0].files, run.snapshots[1].files)
    for report in map_tasks(compare, items):
        run.counts.update(report["counts"])
        planned.add(report)
    return planned


def resolve(run: Night, planned: Plan) -> list[Row]:
    """Merge equal questions, find those that the table answers, and return shards, those of the canary first."""
    asked = planned.asked.with_parts(planned.asked_parts)
    questions = run.staging.exchange("questions")
    merge = partial(
        resolve_asked,
        asked=asked,
        keys=_find_known(run, planned, asked.num_buckets),
        resolved=planned.resolved,
        questions=questions,
        canary_rows=run.config.enrich.canary_rows,
    )
    parts: list[Row] = []
    candidates = Candidates(run.config.enrich.canary_rows)
    num_questions: Counter[int] = Counter()
    for report in map_tasks(merge, list(divide_buckets(planned.num_asked, RESOLVED_ROWS))):
        parts += report["question_parts"]
        num_questions.update({int(bucket): number for bucket, number in report["questions"].items()})
        for task, hashes in report["candidates"].items():
            candidates.add(task, hashes)
        planned.copied.update(report["resolved"])
        planned.resolved_parts += report["resolved_parts"]
    cut = partial(
        cut_shards,
        questions=questions.with_parts(parts),
        rows_per_shard=run.config.table.rows_per_file,
        drawn=draw(candidates),
    )
    groups = list(divide_buckets(num_questions, RESOLVED_ROWS))
    shards = [shard for report in map_tasks(cut, groups) for shard in report["shards"]]
    return sorted(shards, key=lambda shard: (not is_canary(shard["shard"]), shard["shard"]))


def _find_known(run: Night, planned: Plan, num_buckets: int) -> Exchange:
    """Exchange by key what the table knows of the questions that are to be asked."""
    keys = run.staging.exchange("keys", num_buckets)
    if not planned.num_asked:
        return keys
    find = partial(sort_keys, table=run.enriched, keys=keys, asked=planned.key_beginnings)
    parts: list[Row] = []
    for report in map_tasks(find, group_files(number_files(run.snapshots[0].files))):
        parts += report["parts"]
    return keys.with_parts(parts)


def prepare_canary(run: Run, shards: Sequence[Row]) -> None:
    """Hold all commits until the canary's answers have been compared with the table."""
    chosen = [shard for shard in shards if is_canary(shard["shard"])]
    tasks = {shard["task"] for shard in chosen}
    references = {task: read_reference(run.enriched, run.snapshots[0].files, task) for task in tasks}
    if chosen:
        run.canary = Canary(chosen, references, Limits.from_config(run.config.enrich), run.model.digest, run.tasks)
        run.committer.hold(run.canary)


def write_resolved(run: Run, planned: Plan) -> None:
    """Write what needs no engine: tombstones, known answers, products without reviews, trouble."""
    write = partial(
        run.result_writer.write_resolved,
        enriched=run.enriched,
        files=run.snapshots[0].files,
        resolved=planned.resolved.with_parts(planned.resolved_parts),
        rows_per_part=RESOLVED_ROWS,
    )
    run.committer.consume(map_tasks(write, sorted(planned.copied)), is_last=False)


def infer(run: Run, shards: Sequence[Row]) -> None:
    """Answer the shards and commit their files as they come; without shards no engine is started."""
    if not shards:
        return
    config = run.config.infer
    num_asked = sum(shard["num_rows"] for shard in shards)
    reader = partial(read_strictly, tasks=run.tasks)
    load = partial(
        load_shard,
        storage=run.staging.storage,
        tasks=run.tasks,
        settings=PromptSettings.of(config),
    )
    questions = _load_shards(shards, load)
    finish = partial(_finish_batch, result_writer=run.result_writer)
    budget = Budget.from_config(run.config.enrich, config.concurrency)
    with use_endpoint(run.config, None, "") as endpoint:
        engine = build_engine(config, run.shared_model or Path(), reader, num_asked, run.tasks, endpoint)
        reports = bound_stream(engine(questions).map_batches(finish, batch_format="pyarrow", batch_size=None))
        run.committer.consume(budget.take(read_reports(reports)), num_asked)
        run.spending = describe(endpoint.read_account()) if endpoint else None
    run.stopped = budget.reached
    if run.stopped:
        for task, number in count_postponed(shards, run.committer.finished).items():
            run.counts[f"{task}/postponed"] += number


def _load_shards(shards: Sequence[Row], load: Callable[[Row], pa.Table]) -> Dataset:
    def load_one(shard: Row) -> Iterator[pa.Table]:
        yield load(shard)

    return map_items(load_one, shards)


def _finish_batch(batch: pa.Table, result_writer: ResultWriter) -> Iterator[pa.Table]:
    """Yield the one report: of a function that returns, Ray Data keeps an error's trace but not the error.

    Raises:
        UserError: if a row was not asked because the endpoint had to be left: what is committed stays.
    """
    stopped = [error for error in batch["error"].to_pylist() if error and error.startswith(STOPPED)]
    if stopped:
        raise UserError(
            f"{stopped[0].removeprefix(STOPPED)}; what is committed stays, the next night goes on from there"
        )
    yield to_report(result_writer.write_answers(batch.to_pylist()))


def _check_catalog(run: Night) -> None:
    """Refuse to turn a whole table into tombstones because an export came out empty.

    Raises:
        UserError: if no product can be read, and the table has rows.
    """
    if run.counts["num_products"] == 0 and run.snapshots[0].num_rows > 0:
        paths = ", ".join(file["path"] for file in run.catalog[:3])
        raise UserError(
            f"{paths}: no product can be read, but the table has {run.snapshots[0].num_rows} rows; nothing was "
            "changed. Mend the export, or start a new table with another `table.uri`"
        )


def _check_fields(run: Night, columns: Collection[str]) -> None:
    """Refuse a question whose config names a column that no product has: it is misspelt, or the export changed.

    Raises:
        UserError: naming the key.
    """
    if not run.counts["num_products"]:
        return
    for name in run.tasks:
        question = run.config.enrich.questions.get(name)
        missing = [field for field in question.fields if field not in columns] if question else []
        if missing:
            raise UserError(
                f"`enrich.questions.{name}.fields`: no product has a column `{missing[0]}`; nothing was changed. "
                "Name one that the catalogue has, or say in `catalog.columns` what the file calls it"
            )


def _prompt_context(run: Night) -> PromptContext:
    config = run.config
    return PromptContext(
        templates=run.templates,
        answers=fingerprint(identify_answers(config.infer, config.serve, run.model.digest)),
        max_review_tokens=config.reviews.max_tokens,
        model_digest=run.model.digest,
    )

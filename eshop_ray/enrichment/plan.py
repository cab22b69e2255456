"""One bucket of products against last night's table: what is unchanged, and what is to be done about the rest.

Pure: rows in, decisions out.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from eshop_ray.enrichment.columns import identify_place
from eshop_ray.enrichment.questions import (
    ASK,
    DELETED,
    EMPTY,
    ENRICHED,
    FORMER_KEY_CHARACTERS,
    QUARANTINED,
    PromptContext,
    Question,
    build_former_key,
    build_question,
)
from eshop_ray.schema import Row, content_id, encode
from eshop_ray.tasks.product import REVIEWS

PREVIOUS_ROWS = pa.schema(
    [
        ("product_id", pa.string()),
        ("task", pa.string()),
        ("key", pa.string()),
        ("prediction_key", pa.string()),
        ("status", pa.string()),
        ("model_digest", pa.string()),
        ("has_reviewers", pa.bool_()),
        ("file", pa.int32()),
        ("position", pa.int64()),
    ]
)
"""A row of the enriched table and where it stands: the file's number in the snapshot, the row in that file.
`prediction_key` is null where it has no prediction, `has_reviewers` false where it names nobody who wrote what the
prediction was made from."""

QUARANTINE_ROWS = pa.schema(
    [
        ("fingerprint", pa.string()),
        ("product_id", pa.string()),
        ("task", pa.string()),
        ("reason", pa.string()),
        ("attempts", pa.int32()),
    ]
)
"""A row of the quarantine."""

ACTIONS = pa.schema(
    [
        ("product_id", pa.string()),
        ("task", pa.string()),
        ("key", pa.string()),
        ("prompt_id", pa.string()),
        ("status", pa.string()),
        ("change", pa.string()),
        ("fields", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("fingerprint", pa.string()),
        ("path", pa.string()),
        ("line", pa.int64()),
        ("attempts", pa.int32()),
        ("reviewers", pa.list_(pa.string())),
        ("copy_file", pa.int32()),
        ("copy_position", pa.int64()),
        ("replaces", pa.bool_()),
        ("clears", pa.bool_()),
    ]
)
"""What is to be done about a product's task.

`status` is what its row will have, or `ask`; null where only the quarantine changes. `change` is `new`, `changed`,
`deleted`, or `unchanged` where the row gets another key, or its `reviewers`, and nothing else. `reviewers` are digests
of the users who wrote the product's reviews. `copy_*` is a row of the table whose prediction is taken over. `replaces`:
the table has a row of this product's task; `clears`: the quarantine has one of this `fingerprint`.
"""

RETRIED_REASONS = frozenset({"engine"})
"""Trouble that may have passed by the next night; all else waits for `replay_quarantine` or for another text."""


@dataclass(slots=True)
class Bucket:
    """All that is known of the products of one bucket."""

    products: dict[str, Row] = field(default_factory=dict)
    repeats: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    """Further rows of the ids in `products`."""
    unreadable: dict[str, Row] = field(default_factory=dict)
    num_duplicates: int = 0
    num_superseded: int = 0
    reviews: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    previous: dict[tuple[str, str], Row] = field(default_factory=dict)
    quarantined: dict[tuple[str, str], Row] = field(default_factory=dict)
    """Rows with a product, by product and task."""
    was_unreadable: dict[str, Row] = field(default_factory=dict)
    """Rows without, by fingerprint."""
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    """Product -> task -> key of what is to be decided."""
    num_unchanged: Counter[str] = field(default_factory=Counter)
    """By task: products that are not in `keys`."""
    num_live: Counter[str] = field(default_factory=Counter)
    """By task: rows of the table that are no tombstones."""

    def add_product(self, row: Row) -> None:
        """Take a row of the catalogue."""
        if row["reason"]:
            self.unreadable[row["fingerprint"]] = row
        elif self.products.setdefault(row["product_id"], row) is not row:
            self.repeats[row["product_id"]].append(row)

    def settle_repeats(self) -> None:
        """Of the rows of one id keep the newest, or, where versions do not tell, the first in the order of the files.

        Older versions are left aside; a row that is only later counts as unreadable.
        """
        for product_id, repeats in self.repeats.items():
            rows = [self.products[product_id], *repeats]
            versions = [row["version"] for row in rows if row["version"] is not None]
            newest = [row for row in rows if not versions or row["version"] == max(versions)]
            self.num_superseded += len(rows) - len(newest)
            first, *later = sorted(newest, key=lambda row: (row["path"], row["line"], row["element"]))
            self.products[product_id] = first
            self.num_duplicates += len(later)
            for row in later:
                mark = identify_place("duplicate", row)
                message = f"the id stands in {first['path']}:{first['line']} already"
                self.unreadable[mark] = {**row, "fingerprint": mark, "reason": "duplicate_id", "message": message}
        self.repeats.clear()

    def add_quarantined(self, row: Row) -> None:
        """Take a row of the quarantine."""
        if row["task"] is None:
            self.was_unreadable[row["fingerprint"]] = row
        else:
            self.quarantined[row["product_id"], row["task"]] = row


def plan_bucket(
    bucket: Bucket,
    context: PromptContext,
    count_tokens: Callable[[str], int],
    replay: bool,
    counts: Counter[str],
    holds_missing: bool = False,
) -> Iterator[Row]:
    """Yield rows of `ACTIONS`.

    Args:
        bucket: What is to be decided.
        context: What answers depend on besides the product.
        count_tokens: Text -> number of tokens.
        replay: Also ask again about what stands in quarantine.
        counts: Takes what needs no work, as `TASK/unchanged`, `TASK/quarantined` and `num_held`, and what `guards`
            looks at.
        holds_missing: Whether products that are missing may be on lines that could not be read.
    """
    counts.update({f"live/{task}": number for task, number in bucket.num_live.items()})
    counts.update({f"{task}/unchanged": number for task, number in bucket.num_unchanged.items() if number})
    for product_id, product in bucket.products.items():
        reviews = bucket.reviews.get(product_id, [])
        for task, key in bucket.keys[product_id].items():
            template = context.templates[task]
            question = build_question(template, product["fields"], reviews, context, count_tokens)
            reviewers = find_reviewers(reviews) if REVIEWS in template.form.fields else None
            old, bad = bucket.previous.get((product_id, task)), bucket.quarantined.get((product_id, task))
            yield from _compare(product, task, key, question, reviewers, context, old, bad, replay, counts)
    yield from _plan_deleted(bucket, context.tasks, counts, holds_missing)
    yield from _plan_unreadable(bucket, counts)


def _compare(
    product: Row,
    task: str,
    key: str,
    question: Question,
    reviewers: Sequence[str] | None,
    context: PromptContext,
    old: Row | None,
    bad: Row | None,
    replay: bool,
    counts: Counter[str],
) -> Iterator[Row]:
    has_former_key = old is not None and _is_former_key(old["key"], task, question, context)
    is_nameless = bool(reviewers) and old is not None and not old["has_reviewers"]
    is_known = old is not None and (has_former_key or old["key"] == key)
    if is_known and old is not None and old["status"] != DELETED:
        if old["status"] == QUARANTINED:
            is_retried = question.status == ASK and (replay or bad is None or bad["reason"] in RETRIED_REASONS)
            if not is_retried and bad is not None:
                counts[f"trouble/{task}"] += question.status == QUARANTINED
                counts[f"{task}/quarantined"] += 1
                counts[f"reason/{bad['reason']}"] += 1
                return
        elif not has_former_key and not is_nameless:
            counts[f"{task}/unchanged"] += 1
            yield from _forget(bad)
            return
    is_restored = old is not None and _answers(old, key, has_former_key)
    is_new = old is None or old["status"] == DELETED
    is_same = is_known and old is not None and old["status"] in (ENRICHED, EMPTY)
    if not is_new and not is_same and old is not None and old["model_digest"] in (None, context.model_digest):
        counts[f"moved/{task}"] += 1
    counts[f"trouble/{task}"] += question.status == QUARANTINED
    yield _action(
        product_id=product["product_id"],
        task=task,
        key=key,
        prompt_id=question.prompt_id,
        status=ENRICHED if is_restored else question.status,
        change="new" if is_new else "unchanged" if is_same else "changed",
        fields=encode(question.fields) if question.status == ASK and not is_restored else None,
        reason=question.reason,
        message=question.message,
        fingerprint=content_id("row", product["product_id"], task),
        path=product["path"],
        line=product["line"],
        attempts=1 + (bad["attempts"] if bad and is_known else 0),
        reviewers=reviewers,
        copy=old if is_restored else None,
        old=old,
        bad=bad,
    )


def find_reviewers(reviews: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Return who wrote a product's reviews, sorted; None where no review says."""
    return sorted({review["reviewer"] for review in reviews if review.get("reviewer")}) or None


def _answers(old: Row, key: str, has_former_key: bool) -> bool:
    """Whether a row has the answer to a question, whatever has become of the row since."""
    return old["prediction_key"] is not None and (old["prediction_key"] == key or has_former_key)


def _is_former_key(key: str, task: str, question: Question, context: PromptContext) -> bool:
    return len(key) == FORMER_KEY_CHARACTERS and key == build_former_key(context.templates[task], question, context)


def _plan_deleted(bucket: Bucket, tasks: Sequence[str], counts: Counter[str], holds_missing: bool) -> Iterator[Row]:
    """Turn rows whose product left, or whose task is asked no more, into tombstones; clear the quarantine of them."""
    for (product_id, task), old in bucket.previous.items():
        if old["status"] == DELETED or (product_id in bucket.keys and task in tasks):
            continue
        if task in tasks and holds_missing:
            counts["num_held"] += 1
            continue
        counts[f"left/{task}"] += task in tasks
        values = {"product_id": product_id, "task": task, "key": old["key"], "status": DELETED, "change": DELETED}
        values["fingerprint"] = content_id("row", product_id, task)
        yield _action(**values, copy=old, old=old, bad=bucket.quarantined.get((product_id, task)))
    for (product_id, task), bad in bucket.quarantined.items():
        is_open = task in tasks and (product_id in bucket.products or holds_missing)
        if not is_open and bucket.previous.get((product_id, task), {}).get("status") in (None, DELETED):
            yield from _forget(bad)


def _plan_unreadable(bucket: Bucket, counts: Counter[str]) -> Iterator[Row]:
    for mark, row in bucket.unreadable.items():
        bad = bucket.was_unreadable.pop(mark, None)
        if bad is not None and bad["reason"] == row["reason"]:
            counts["/quarantined"] += 1
            counts[f"reason/{bad['reason']}"] += 1
            continue
        kept = {name: row[name] for name in ("fingerprint", "product_id", "reason", "message", "path", "line")}
        yield _action(**kept, status=QUARANTINED, change="new", attempts=1, bad=bad)
    for bad in bucket.was_unreadable.values():
        yield from _forget(bad)


def _forget(bad: Row | None) -> Iterator[Row]:
    """Take a row out of the quarantine whose trouble is over."""
    if bad is not None:
        yield _action(fingerprint=bad["fingerprint"], product_id=bad["product_id"], bad=bad)


def _action(copy: Row | None = None, old: Row | None = None, bad: Row | None = None, **values: Any) -> Row:
    row = {**dict.fromkeys(ACTIONS.names), **values, "replaces": old is not None, "clears": bad is not None}
    if copy is not None:
        row["copy_file"], row["copy_position"] = copy["file"], copy["position"]
    return row

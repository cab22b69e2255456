"""One bucket of products against last night's table, by columns: what is unchanged is counted and left alone.

Rows of Python are made of the rest only: of products whose key is another, of those that left, and of what is in
trouble.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from eshop_ray.data.database import connect, quote_text
from eshop_ray.enrichment.plan import Bucket
from eshop_ray.enrichment.questions import (
    DELETED,
    EMPTY,
    ENRICHED,
    PromptContext,
    identify_attributes,
    identify_question,
)
from eshop_ray.enrichment.scan import FIELD_PREFIX
from eshop_ray.enrichment.templates import OTHERS, Template, list_columns
from eshop_ray.schema import Row, decode
from eshop_ray.tasks.product import ATTRIBUTES, REVIEWS

KEY_CHARACTERS = 32
"""Hexadecimal digits of a key: 128 bits of a SHA-256."""


@dataclass(frozen=True, slots=True)
class BucketTables:
    """All that is known of the products of one bucket."""

    products: pa.Table
    """Rows of `product_rows`."""
    reviews: pa.Table
    """Rows of `REVIEW_ROWS`."""
    previous: pa.Table
    """Rows of `PREVIOUS_ROWS`."""
    quarantined: pa.Table
    """Rows of `QUARANTINE_ROWS`."""


def compare_bucket(tables: BucketTables, context: PromptContext, paths: Sequence[str]) -> Bucket:
    """Return what is to be decided about a bucket, and how many rows of each task are unchanged.

    Args:
        tables: What is known.
        context: What answers depend on besides the product.
        paths: Of the files, by number.
    """
    bucket = Bucket()
    names = _name_columns(context)
    aliases = {FIELD_PREFIX + name: alias for name, alias in names.items()}
    database = connect(
        read_rows=tables.products.rename_columns([aliases.get(name, name) for name in tables.products.schema.names]),
        reviews=tables.reviews,
        previous=tables.previous,
        quarantined=tables.quarantined,
    )
    with database:
        _settle_repeats(database, bucket, names, paths)
        for row in _select(database, "from read_rows where reason is not null"):
            bucket.add_product(_to_product(row, names, paths))
        for row in _select(database, "from quarantined"):
            bucket.add_quarantined(row)
        _compare_keys(database, bucket, context)
        _take_changed(database, bucket, context, paths)
    return bucket


def build_key(task: str, context: PromptContext) -> str:
    """Return the SQL of a product's key for a task: the digest of all that determines the answer.

    That is the question's identity and, each with its length in bytes, so that no two products run together, the
    columns that the task reads, the attributes that are asked for in the product's category and the product's reviews
    in their order. What is wrong with a column is a part of it.
    """
    template, aliases = context.templates[task], _name_columns(context)
    form = template.form
    given = {REVIEWS: "coalesce(texts, '')"}
    if ATTRIBUTES in form.fields:
        given[ATTRIBUTES] = _choose_attributes(template, aliases["category"])
    parts = [quote_text(identify_question(template, context))]
    for name in form.columns:
        column = f"coalesce({aliases[name]}, '')"
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        problem = f"coalesce(json_extract_string(problems, {quote_text(pointer)}), '')"
        parts += [problem, f"strlen({column})", "':'", column]
    parts += [given[name] for name in form.fields if name in given]
    columns = [given.get(name) or aliases[name] for name in form.empty_without]
    is_empty = " or ".join(f"coalesce({column}, '') = ''" for column in columns) or "false"
    digest = f"case when {is_empty} then sha256({parts[0]}) else sha256(concat({', '.join(parts)})) end"
    return f"left({digest}, {KEY_CHARACTERS})"


def _choose_attributes(template: Template, category: str) -> str:
    """Return the SQL of the digest of what is asked for in a product's category; empty where nothing is."""
    digests = {one: quote_text(identify_attributes(prompt)) for one, prompt in template.prompts.items()}
    others = digests.pop(OTHERS, "''")
    cases = " ".join(f"when {quote_text(one)} then {digest}" for one, digest in digests.items())
    return f"case {category} {cases} else {others} end" if cases else others


def _name_columns(context: PromptContext) -> Mapping[str, str]:
    """Return what SQL calls the catalogue's columns: there, capitals make no difference, and quotes are trouble."""
    return {name: f"{FIELD_PREFIX}{place}" for place, name in enumerate(list_columns(context.templates))}


def _settle_repeats(
    database: duckdb.DuckDBPyConnection, bucket: Bucket, names: Mapping[str, str], paths: Sequence[str]
) -> None:
    """Make the table `products`, with one row for each id; which one counts is decided in Python."""
    database.sql("""
        create temp table repeated as
        select product_id from read_rows where reason is null group by product_id having count(*) > 1
    """)
    once = "from read_rows anti join repeated using (product_id) where reason is null"
    for row in _select(database, "from read_rows semi join repeated using (product_id) where reason is null"):
        bucket.add_product(_to_product(row, names, paths))
    bucket.settle_repeats()
    kept = [{name: row[name] for name in ("file", "line", "element")} for row in bucket.products.values()]
    bucket.products.clear()
    if not kept:
        database.sql(f"create temp view products as {once}")
        return
    places = pa.schema([("file", pa.int32()), ("line", pa.int64()), ("element", pa.int32())])
    database.register("kept", pa.Table.from_pylist(kept, schema=places))
    database.sql(f"""
        create temp view products as ({once}) union all
        (from read_rows semi join kept using (file, line, element) where reason is null)
    """)


def _compare_keys(database: duckdb.DuckDBPyConnection, bucket: Bucket, context: PromptContext) -> None:
    """Make the table `changed`, of products' tasks that are to be looked at, and count the others."""
    has_reviews = any(REVIEWS in template.form.fields for template in context.templates.values())
    source = "products"
    if has_reviews:
        database.sql("""
            create temp table review_texts as
            select product_id, string_agg(strlen(text) || ':' || text, '' order by votes desc, text) as texts,
                count(reviewer) > 0 as has_reviewers
            from (
                select product_id, text, max(votes) as votes, max(reviewer) as reviewer
                from reviews group by product_id, text
            )
            group by product_id
        """)
        source = "products left join review_texts using (product_id)"
    keys = " union all ".join(
        f"select product_id, {quote_text(name)} as task, {build_key(name, context)} as key, "
        f"{'coalesce(has_reviewers, false)' if REVIEWS in template.form.fields else 'false'} as is_named from {source}"
        for name, template in context.templates.items()
    )
    database.sql(f"""
        create temp table changed as
        select now.product_id, now.task, now.key
        from ({keys}) now
        left join (from previous where status in ('{ENRICHED}', '{EMPTY}')) old using (product_id, task, key)
        left join quarantined bad on bad.product_id = now.product_id and bad.task = now.task
        where old.product_id is null or bad.fingerprint is not null
            or (now.is_named and not coalesce(old.has_reviewers, false))
    """)
    (num_products,) = database.sql("select count(*) from products").fetchall()[0]
    changed = dict(database.sql("select task, count(*) from changed group by task").fetchall())
    for task in context.tasks:
        bucket.num_unchanged[task] = num_products - changed.get(task, 0)


def _take_changed(
    database: duckdb.DuckDBPyConnection, bucket: Bucket, context: PromptContext, paths: Sequence[str]
) -> None:
    """Give the bucket rows of Python for what is to be decided."""
    names = _name_columns(context)
    for row in _select(database, "from changed"):
        bucket.keys.setdefault(row["product_id"], {})[row["task"]] = row["key"]
    for row in _select(database, "from products semi join changed using (product_id)"):
        bucket.add_product(_to_product(row, names, paths))
    asked = [quote_text(name) for name, template in context.templates.items() if REVIEWS in template.form.fields]
    if asked:
        changed = f"(from changed where task in ({', '.join(asked)}))"
        for row in _select(database, f"from reviews semi join {changed} using (product_id)"):
            bucket.reviews[row["product_id"]].append(row)
    tasks = ", ".join(map(quote_text, context.tasks))
    rows = f"""
        from previous semi join changed using (product_id, task)
        union all from previous anti join products using (product_id) where status <> '{DELETED}'
        union all from previous semi join products using (product_id)
            where status <> '{DELETED}' and task not in ({tasks})
    """
    bucket.num_live.update(
        dict(database.sql(f"select task, count(*) from previous where status <> '{DELETED}' group by task").fetchall())
    )
    for row in _select(database, rows):
        bucket.previous[row["product_id"], row["task"]] = row


def _select(database: duckdb.DuckDBPyConnection, query: str) -> Iterable[Row]:
    for batch in database.sql(query).to_arrow_reader():
        yield from batch.to_pylist()


def _to_product(row: Mapping[str, Any], names: Mapping[str, str], paths: Sequence[str]) -> Row:
    """Return a product with its file's path, and its columns as tasks read them; `names` is of `_name_columns`."""
    fields: Row = {name: row[alias] for name, alias in names.items()}
    fields["problems"] = decode(row["problems"]) or {}
    return {**row, "fields": fields, "path": paths[row["file"]]}

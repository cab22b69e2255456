"""The catalogue, its reviews and the nightly table -> documents of the search index."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa

from eshop_ray.config import Config
from eshop_ray.data.database import connect
from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.products import read_id, read_products, read_version
from eshop_ray.data.search_index import Attribute, Document, Review
from eshop_ray.enrichment.scan import to_review
from eshop_ray.enrichment.tables import enriched_table
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row, content_id, is_text

BATCH_ROWS = 1024
MAX_CHARACTERS = 20_000
"""Of a description that are kept."""
DELETED = "deleted"
SUMMARY = "summarization"
OUTSIDE = "O"
"""Type of words that are no entity."""

PRODUCTS = pa.schema([("product_id", pa.string()), ("number", pa.int64()), ("version", pa.float64())]).append(
    pa.field("fields", pa.string())
)
REVIEWS = pa.schema([("product_id", pa.string()), ("text", pa.string()), ("votes", pa.float64())])
ANSWERS = ("product_id", "task", "status", "prediction", "confidence")
TEXTS = ("name", "category", "description")

JOIN = """
SELECT fields, answers, reviews, product_id FROM
  (SELECT * FROM products QUALIFY row_number() OVER (PARTITION BY product_id ORDER BY version DESC, number) = 1)
  JOIN (SELECT product_id,
               list({'task': task, 'prediction': prediction, 'confidence': confidence} ORDER BY task) AS answers
        FROM answers WHERE status != $deleted GROUP BY product_id) USING (product_id)
  LEFT JOIN (SELECT product_id, list(text ORDER BY votes DESC, text)[1:$num_reviews] AS reviews
        FROM (SELECT product_id, text, max(votes) AS votes FROM reviews GROUP BY ALL) GROUP BY product_id)
        USING (product_id)
"""


def read_documents(config: Config) -> Iterator[list[Document]]:
    """Yield all products that the catalogue has and that are not deleted in the nightly table, batch by batch.

    Raises:
        UserError: if there is no catalogue or table, or they cannot be read.
    """
    if config.catalog.path is None:
        raise UserError("set `catalog.path`: the files of the products that the nightly table is about")
    with connect() as database:
        _fill(database, "products", PRODUCTS, _read_products(config))
        _fill(database, "reviews", REVIEWS, _read_reviews(config))
        table = enriched_table(config.table_uri)
        schema = pa.schema([table.schema.field(name) for name in ANSWERS])
        files = table.snapshot().files
        _fill_tables(database, "answers", schema, (table.read_file(file, ANSWERS).select(ANSWERS) for file in files))
        found = database.execute(JOIN, {"deleted": DELETED, "num_reviews": config.index.num_reviews})
        while rows := found.fetchmany(BATCH_ROWS):
            yield [_to_document(config, *row) for row in rows]


def _read_products(config: Config) -> Iterator[Row]:
    options, number = config.catalog, 0
    for file in list_files(config.data.root, options.path or ""):
        with open_bytes(file.path) as stream:
            for found in read_products(stream, file.path, options):
                product_id = None if isinstance(found, Malformed) else read_id(found[1].get("id"))
                if product_id is None or isinstance(found, Malformed):
                    continue  # the night names it
                fields = {name: _to_text(found[1].get(name)) for name in TEXTS}
                newest = options.newest_by
                version = read_version(found[1].get(newest)) if newest else 0.0
                number += 1
                row = {"product_id": product_id, "number": number, "version": version}
                yield {**row, "fields": json.dumps(fields)}


def _read_reviews(config: Config) -> Iterator[Row]:
    if config.reviews.path is None:
        return
    for file in list_files(config.data.root, config.reviews.path):
        with open_bytes(file.path) as stream:
            for found in read_rows(stream, file.path, config.reviews.file_options()):
                if isinstance(found, Malformed):
                    continue
                row = to_review(file.path, *found, config.reviews.columns)
                if row.get("reason") is None:
                    text = _to_text(row["text"])[: config.index.max_review_characters]
                    yield {"product_id": row["product_id"], "text": text, "votes": row["votes"]}


def _to_document(config: Config, fields: str, answers: Sequence[Row], reviews: Sequence[str], name: str) -> Document:
    texts: dict[str, str] = json.loads(fields)
    attributes: list[Attribute] = []
    summary = ""
    for answer in answers:
        prediction = json.loads(answer["prediction"]) if answer["prediction"] else None
        question = config.enrich.questions.get(answer["task"])
        if ((question and question.task) or answer["task"]) == SUMMARY:
            summary = summary or _to_text(prediction)
        else:
            attributes += list_attributes(answer["task"], prediction, answer["confidence"])
    kept = tuple(Review(content_id(name, text), text) for text in reviews or ())
    return Document(name, **texts, summary=summary, attributes=tuple(dict.fromkeys(attributes)), reviews=kept)


def list_attributes(task: str, prediction: Any, confidence: float | None = None) -> Iterator[Attribute]:
    """Yield what an answer says of a product: a label, entities, or values by attribute.

    Args:
        task: Of the nightly table; it names the attribute of a label.
        prediction: The answer.
        confidence: How sure the model was of it as a whole.
    """
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(prediction, str):
        pairs = [("category" if task == "classification" else task, prediction)]
    elif isinstance(prediction, Mapping):
        pairs = prediction.items()
    elif isinstance(prediction, list):
        pairs = [(one[1], one[0]) for one in prediction if isinstance(one, list) and len(one) == 2]
    for name, value in pairs:
        if isinstance(value, str) and value.strip() and name != OUTSIDE:
            yield Attribute(_to_text(name), _to_text(value), task, None if confidence is None else round(confidence, 3))


def _to_text(value: Any) -> str:
    if isinstance(value, list):
        value = " ".join(one for one in value if isinstance(one, str))
    return " ".join(value.split())[:MAX_CHARACTERS] if isinstance(value, str) and is_text(value) else ""


def _fill(database: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, rows: Iterator[Row]) -> None:
    blocks = iter(lambda: list(islice(rows, BATCH_ROWS)), [])
    _fill_tables(database, name, schema, (pa.Table.from_pylist(block, schema) for block in blocks))


def _fill_tables(database: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    batches = (batch for table in tables for batch in table.to_batches())
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    database.register("incoming", reader)
    database.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
    database.unregister("incoming")

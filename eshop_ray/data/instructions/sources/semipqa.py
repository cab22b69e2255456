"""semiPQA: attributes of products, which of them answers a question, and the sentences that say them; tables."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.config.files import FileOptions
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.attribute_text import write_attribute
from eshop_ray.data.instructions.material import Fact, Material, ProductQuestion
from eshop_ray.data.sources.required import parse_row, to_line
from eshop_ray.schema import Malformed, Row, content_id


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `ProductQuestion` for each judged attribute, a `Fact` for each attribute with its sentence."""
    rows = read_rows(stream, path, FileOptions(delimiter="\t"))
    parse = partial(_read, language=options["language"])
    for row in rows:
        yield row if isinstance(row, Malformed) else parse_row(path, *row, parse)


def _read(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    attribute = write_attribute(to_line(row.get("candidate") or row.get("data")))
    if not attribute:
        return Malformed(path, number, "no attribute with a value")
    if "text" in row:
        sentence = to_line(row["text"])
        if not sentence:
            return Malformed(path, number, "no sentence")
        return Fact(id=content_id(attribute, sentence), language=language, attribute=attribute, sentence=sentence)
    question, label = to_line(row.get("question")), to_line(row.get("label"))
    if not question or label not in ("0", "1"):
        return Malformed(path, number, "no question, or a label that is neither 0 nor 1")
    return ProductQuestion(
        id=content_id(str(row.get("qid")), question, attribute),
        language=language,
        question=question,
        evidence=attribute,
        is_answerable=label == "1",
    )

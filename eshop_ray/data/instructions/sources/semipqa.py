"""semiPQA: attributes of products, which of them answers a question, and the sentences that say them; tables."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.config.files import FileOptions
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.material import Fact, Material, ProductQuestion
from eshop_ray.schema import Malformed, Row, content_id

_VALUE = re.compile(r'value:\s*"((?:[^"\\]|\\.)*)"|value:\s*([^\s}"]+)')
_UNIT = re.compile(r'unit:\s*"?([^"}]+?)"?\s*}')

_NOTHING = frozenset({"", "na", "n/a", "n.a.", "null", "unknown", "not applicable"})
"""Values that say that there is none: of a body of NA a person wrote "The body is made of material."."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `ProductQuestion` for each judged attribute, a `Fact` for each attribute with its sentence."""
    rows = read_rows(stream, path, FileOptions(delimiter="\t"))
    parse = partial(_read, language=options["language"])
    for row in rows:
        yield row if isinstance(row, Malformed) else parse(path, *row)


def _read(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    attribute = _write_attribute(str(row.get("candidate") or row.get("data") or ""))
    if not attribute:
        return Malformed(path, number, "no attribute with a value")
    if "text" in row:
        sentence = " ".join(str(row["text"] or "").split())
        if not sentence:
            return Malformed(path, number, "no sentence")
        return Fact(id=content_id(attribute, sentence), language=language, attribute=attribute, sentence=sentence)
    question, label = " ".join(str(row.get("question") or "").split()), str(row.get("label"))
    if not question or label not in ("0", "1"):
        return Malformed(path, number, "no question, or a label that is neither 0 nor 1")
    return ProductQuestion(
        id=content_id(str(row.get("qid")), question, attribute),
        language=language,
        question=question,
        product=f"semipqa {row.get('qa_pair_id')}",
        evidence=attribute,
        is_answerable=label == "1",
    )


def _write_attribute(text: str) -> str:
    """Turn `age_range:  { value:"little kid" }` into `age range: little kid`; empty where there is no value."""
    name, _, rest = text.partition(":")
    found = ((first or second).strip() for first, second in _VALUE.findall(rest))
    values = [value for value in found if value.casefold() not in _NOTHING]
    unit = _UNIT.search(rest)
    if not name.strip() or not values:
        return ""
    return f"{name.strip().replace('_', ' ')}: {', '.join(values)}{' ' + unit[1].strip() if unit else ''}"

"""ePQA: questions about a product with candidates, sentences or attributes, each judged by how well it answers."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.attribute_text import write_evidence
from eshop_ray.data.instructions.material import Material, ProductQuestion
from eshop_ray.data.sources.required import require_columns, to_line
from eshop_ray.schema import Malformed, Row, content_id

_COLUMNS = ("question", "candidate", "label")
_ANSWERABLE = {"0": False, "1": None, "2": True}
"""A candidate that answers in part says neither yes nor no."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `ProductQuestion` for each candidate; where it answers, with the answer.

    Raises:
        UserError: if a column is missing from the whole file.
    """
    parse = partial(_read, language=options["language"])
    yield from require_columns(read_rows(stream, path), path, _COLUMNS, parse)


def _read(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    question, evidence, label = (to_line(row.get(name)) for name in _COLUMNS)
    if not question or not evidence or label not in _ANSWERABLE:
        return Malformed(path, number, "question or candidate is empty, or the label is none of 0, 1, 2")
    is_answerable = _ANSWERABLE[label]
    title, product_id = (to_line(row.get(name)) for name in ("title", "ASIN"))
    evidence = write_evidence(evidence)
    answer, asked, other = evidence.rpartition(" Question: ")
    return ProductQuestion(
        id=content_id(question, title, evidence),
        repaired="another customer's question put before its answer" if asked else "",
        language=language,
        question=question,
        product=title,
        product_id=product_id,
        evidence=f"Another customer asked: {other} Answer: {answer}" if asked else evidence,
        answer=to_line(row.get("answer")) if is_answerable else "",
        is_answerable=is_answerable,
    )

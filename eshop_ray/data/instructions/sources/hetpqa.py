"""hetPQA: a question, a piece of evidence and the answer that was written from it, a table."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.config.files import FileOptions
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.attribute_text import write_evidence
from eshop_ray.data.instructions.material import Material, ProductQuestion
from eshop_ray.data.sources.required import require_columns, to_line
from eshop_ray.schema import Malformed, Row, content_id

_COLUMNS = ("question", "candidate", "answer")


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `ProductQuestion` for each row.

    Raises:
        UserError: if a column is missing from the whole file.
    """
    rows = read_rows(stream, path, FileOptions(delimiter="\t"))
    yield from require_columns(rows, path, _COLUMNS, partial(_read, language=options["language"]))


def _read(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    question, evidence, answer = (to_line(row.get(name)) for name in _COLUMNS)
    if not question or not evidence or not answer:
        return Malformed(path, number, "question, candidate or answer is empty")
    evidence = write_evidence(evidence)
    return ProductQuestion(
        id=content_id(question, evidence, answer),
        language=language,
        question=question,
        product_id=to_line(row.get("ASIN")),
        evidence=evidence,
        answer=answer,
        is_answerable=True,
    )

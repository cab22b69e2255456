"""EC-Guide's questions taken apart: the review, product or question in them, to be asked anew in other words."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import IO, Any

from eshop_ray.data.instructions.material import (
    LeftOut,
    Material,
    Product,
    ProductQuestion,
    Relation,
    Review,
    Translation,
)
from eshop_ray.data.instructions.sources.amazon_categories import split_categories
from eshop_ray.data.markup import to_plain_text
from eshop_ray.data.sources import shopbench
from eshop_ray.data.sources.required import parse_row
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Record, content_id
from eshop_ray.tasks.base import first_reference

_REVIEW = re.compile(r"(?:Input|Review): (.*?)\n(?:Output|Answer|Title):", re.DOTALL)
_QUOTED_TITLE = re.compile(r'product "(.+)"')
_QUESTION = re.compile(r"(?:Input|Question|Query)\s*[:\uff1a](.+?)\n(?:Output|Answer|Response)\s*[:\uff1a]", re.DOTALL)
_SINGLE_QUOTED = re.compile(r"'(.+)'", re.DOTALL)
_LANGUAGE = re.compile(r"\b(English|German|French|Spanish|Italian|Japanese)\b")
_PAIR = re.compile(r'Product 1: "(.+)", Product 2: "(.+)"\n', re.DOTALL)
_BOUGHT = re.compile(r"Product A: (.+?)\nProduct B: (.+?)\n(?:Output|Answer)", re.DOTALL)
RELATIONS = ("also_bought", "also_viewed", "similar")
"""What the answers 0, 1 and 2 of PRP mean."""

_SENTENCE = re.compile(r"\bsenten?ce\b", re.IGNORECASE)
"""How the questions tell texts that are no titles of products; some write it wrongly."""
_LABEL = re.compile(r"\s*(?:output|(?:product )?title(?: translation)?|translation)\s*:\s*", re.IGNORECASE)
_CHAT = re.compile(r"question\s*:|[^\n]*\n\s*\S", re.IGNORECASE)
"""Another question, or a remark before the title."""
_QUOTED = re.compile(r"(?P<quote>[\"'])(?P<text>.*)(?P=quote)", re.DOTALL)
_BRACKETED = re.compile(r"「([^「」]*)」")

_STRANGE = "the question is not one of those that can be taken apart"

Parse = Callable[[Record, Mapping[str, Any]], Material | LeftOut | None]


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | LeftOut | Malformed]:
    """Yield what the questions of a file are made of; the file's name tells which they are.

    Raises:
        UserError: if the file is none of those that can be taken apart.
    """
    stem = PurePosixPath(path.partition("?")[0]).name.partition(".")[0]
    if stem not in PARSERS:
        raise UserError(f"{path}: format `ec_guide` takes apart {', '.join(PARSERS)}; others pass on as `shopbench`")

    def parse(path: str, number: int, record: Record) -> Material | LeftOut | Malformed:
        shared = {
            "id": content_id(stem, record["prompt"], str(record["target"])),
            "language": options["language"],
            "repaired": record.get("repaired") or "",
        }
        return PARSERS[stem](record, shared) or Malformed(path, number, _STRANGE)

    for number, record in enumerate(shopbench.read(stream, path, {}), start=1):
        if isinstance(record, Malformed):
            yield record
            continue
        if "prompt" not in record:
            yield Malformed(path, number, _STRANGE)
            continue
        yield parse_row(path, number, record, parse)


def _read_rated(record: Record, shared: Mapping[str, Any]) -> Material | None:
    text, rating = _cut(_REVIEW, record["prompt"]), record["target"]
    return Review(**shared, text=text, rating=rating) if text and rating in range(1, 6) else None


def _read_titled(record: Record, shared: Mapping[str, Any]) -> Material | None:
    text = _cut(_REVIEW, record["prompt"])
    return Review(**shared, text=text, title=str(record["target"])) if text else None


def _read_question(record: Record, shared: Mapping[str, Any]) -> Material | None:
    title, question = _cut(_QUOTED_TITLE, record["prompt"]), _cut(_QUESTION, record["prompt"])
    if not title or not question:
        return None
    return ProductQuestion(**shared, question=question, product=title, answer=str(record["target"]))


def _read_translation(record: Record, shared: Mapping[str, Any]) -> Material | LeftOut | None:
    text = _cut(_SINGLE_QUOTED, record["prompt"])
    language = _LANGUAGE.search(_SINGLE_QUOTED.sub(" ", record["prompt"]))
    if not text or not language or isinstance(record["target"], int):
        return None
    if _SENTENCE.search(record["prompt"]):
        return LeftOut(reason="a sentence of the news, no text of a shop", text=text)
    given = first_reference(record["target"]).strip()
    if _CHAT.match(given):
        return None
    translated = _unquote(_LABEL.sub("", given))
    repaired = "label or quotes around a translation taken off" if translated != given else shared["repaired"]
    told = {**shared, "repaired": repaired, "text": _unquote(text), "translated": translated}
    return Translation(**told, target_language=language[1]) if translated else None


def _unquote(text: str) -> str:
    """Return a text without the quotes that are around all of it, as tables write texts that hold commas."""
    text = _BRACKETED.sub(r"\1", text) if _BRACKETED.fullmatch(text.strip()) else text
    whole = _QUOTED.fullmatch(text.strip())
    if whole is None or whole["quote"] in whole["text"].replace(whole["quote"] * 2, ""):
        return text.strip()
    return whole["text"].replace(whole["quote"] * 2, whole["quote"]).strip()


def _read_relation(record: Record, shared: Mapping[str, Any]) -> Material | None:
    pair = _PAIR.search(record["prompt"])
    if pair is None or record["target"] not in range(len(RELATIONS)):
        return None
    return Relation(**shared, first=_line(pair[1]), second=_line(pair[2]), relation=RELATIONS[record["target"]])


def _read_bought(record: Record, shared: Mapping[str, Any]) -> Material | None:
    pair = _BOUGHT.search(record["prompt"])
    return Relation(**shared, first=_line(pair[1]), second=_line(pair[2]), relation=RELATIONS[0]) if pair else None


def _line(text: str) -> str:
    return " ".join(to_plain_text(text).split())


def _read_category(record: Record, shared: Mapping[str, Any]) -> Material | None:
    title = _cut(_SINGLE_QUOTED, record["prompt"])
    names = split_categories(str(record["target"]))
    return Product(**shared, title=title, category=" > ".join(names)) if title and names else None


def _cut(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return _line(next(filter(None, match.groups()), "")) if match else ""


PARSERS: Mapping[str, Parse] = {
    "CR": _read_category,
    "EBT": _read_bought,
    "MT": _read_translation,
    "PQA": _read_question,
    "PRP": _read_relation,
    "RTS": _read_titled,
    "SA": _read_rated,
}
"""Name of a file -> what takes its questions apart."""

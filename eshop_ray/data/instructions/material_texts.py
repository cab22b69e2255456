"""Texts of material, cleaned: all of a shop's and its customers' before any question is made of them."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from eshop_ray.config.cleaning import TextCleaningSection
from eshop_ray.data.instructions.instruction_lines import FIELDS, join_lines, split_lines
from eshop_ray.data.instructions.material import (
    Attribute,
    Category,
    Fact,
    Instruction,
    Judgement,
    Material,
    OfferPair,
    Product,
    ProductQuestion,
    ProductTitle,
    Relation,
    Review,
    ReviewSummary,
    Search,
    Session,
    TaggedText,
    Translation,
    read_material,
)
from eshop_ray.data.text_cleaning import clean_block
from eshop_ray.data.text_cleaning.control import strip_control
from eshop_ray.schema import Row, decode, encode

TEXTS: Mapping[type[Material], tuple[str, ...]] = {
    Product: ("title", "description", "brand", "bullets", "attributes"),
    Judgement: ("query", "title"),
    ProductTitle: ("title",),
    Search: ("query", "results"),
    Review: ("text", "title", "product_title"),
    ReviewSummary: ("reviews", "summaries"),
    OfferPair: ("first", "second"),
    Relation: ("first", "second"),
    ProductQuestion: ("question", "evidence", "answer"),
    Translation: ("text", "translated"),
    Fact: ("sentence",),
    Session: ("titles",),
    Instruction: FIELDS,
}
"""Fields that are cleaned, the one first without which nothing can be asked."""
VERBATIM: Mapping[type[Material], tuple[str, ...]] = {
    Category: (),
    Attribute: (),
    TaggedText: ("text", "spans"),
}
"""Fields that hold each other's words: only marks of chat templates are taken out."""
BY_CUSTOMERS = (Review, ReviewSummary, ProductQuestion)
"""Kinds whose texts may not be worth learning from."""
MASKED = (*BY_CUSTOMERS, Instruction)
"""Kinds in which personal data is looked for: what is passed on may be a customer's words too."""
EMPTY = "empty"


@dataclass(slots=True)
class _Piece:
    """Material on its way through the stage."""

    place: int
    """Its row."""
    kind: type[Material]
    values: Row
    start: int
    """Of its texts among all texts."""
    num_first: int
    """Texts of its first field."""


def clean_material(table: pa.Table, section: TextCleaningSection) -> pa.Table:
    """Return material with its texts cleaned, the column `cleaned` saying how, and `left_out` why it goes, if it does.

    Args:
        table: Columns of `MATERIAL_SCHEMA`, judgements with their titles.
        section: What is done. Personal data stays outside of what customers may have written: numbers there are a
            shop's own.
    """
    rows = table.to_pylist()
    kept = section.model_copy(update={"personal": "keep"})
    kinds = {kind.__name__: kind for kind in (*TEXTS, *VERBATIM)}
    for is_masked, own in ((True, section), (False, kept)):
        places = [
            (place, kinds[row["kind"]])
            for place, row in enumerate(rows)
            if row["kind"] is not None and (kinds[row["kind"]] in MASKED) == is_masked
        ]
        _clean_rows(rows, [one for one in places if one[1] in TEXTS], own)
        _strip_rows(rows, [one for one in places if one[1] in VERBATIM])
    return pa.Table.from_pylist(rows, schema=table.schema)


def list_texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value of lists and mappings, in their order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from list_texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from list_texts(one)


def _clean_rows(rows: list[Row], places: list[tuple[int, type[Material]]], section: TextCleaningSection) -> None:
    texts: list[str] = []
    pieces = [_collect(rows[place], place, kind, texts) for place, kind in places]
    if not texts:
        return
    block = clean_block(pa.table({"text": pa.array(texts, pa.string())}), section, "text")
    cleaned, reasons, repairs = (block[name].to_pylist() for name in ("text", "reason", "repairs"))
    ends = [*[piece.start for piece in pieces[1:]], len(texts)]
    for piece, end in zip(pieces, ends, strict=True):
        first = reasons[piece.start : piece.start + piece.num_first]
        told = first if piece.kind in BY_CUSTOMERS else [one if one == EMPTY else None for one in first]
        if told and all(told):
            rows[piece.place] |= {
                "kind": None,
                "left_out": told[0],
                "data": " | ".join(filter(None, cleaned[piece.start : end])),
            }
            continue
        done = sorted({name for found in repairs[piece.start : end] for name in found})
        if done:
            _write(rows[piece.place], piece, iter(cleaned[piece.start : end]), done)


def _collect(row: Row, place: int, kind: type[Material], texts: list[str]) -> _Piece:
    """Add the texts of a piece to all texts."""
    values, start = decode(row["data"]), len(texts)
    values = split_lines(values) if kind is Instruction else values
    found = [list(list_texts(values[name])) for name in TEXTS[kind]]
    texts += itertools.chain.from_iterable(found)
    return _Piece(place, kind, values, start, len(found[0]))


def _strip_rows(rows: list[Row], places: list[tuple[int, type[Material]]]) -> None:
    for place, kind in places:
        values, row = decode(rows[place]["data"]), rows[place]
        stripped = _strip(values, VERBATIM[kind])
        if any(values[name] != found for name, found in stripped.items()):
            row |= {"data": encode({**values, **stripped}), "cleaned": "control"}


def _strip(values: Row, names: Iterable[str]) -> Row:
    return {name: _walk(values[name], strip_control) for name in names}


def _write(row: Row, piece: _Piece, cleaned: Iterator[str], done: list[str]) -> None:
    values = {
        **piece.values,
        **{name: _walk(piece.values[name], lambda _: next(cleaned)) for name in TEXTS[piece.kind]},
    }
    if piece.kind is Instruction:
        before = decode(row["data"])
        values = join_lines(before, values) or {**before, **_strip(before, FIELDS)}
    data = encode(values)
    if data == row["data"]:
        return
    row |= {"data": data, "cleaned": ", ".join(done), "department": read_material(row["kind"], data).department}


def _walk(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with each text in it changed, in their order."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _walk(one, change) for name, one in value.items()}
    return [_walk(one, change) for one in value] if isinstance(value, list) else value

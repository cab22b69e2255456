"""Web pages: the products that they describe to search engines, as JSON-LD or microdata."""

import io
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import IO, Any

from eshop_ray.data.formats.encodings import decode_lines
from eshop_ray.data.formats.limits import read_document
from eshop_ray.schema import Malformed, Row

_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_VALUES = {"meta": "content", "link": "href", "a": "href", "img": "src", "data": "value", "time": "datetime"}
"""Element -> the attribute that holds its value; of others it is the text."""


def read_web_page(stream: IO[bytes], path: str) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (1-based line where it begins, block of JSON-LD or item of microdata).

    Blocks are what schema.org calls things: products, and also shops or breadcrumbs.
    """
    page = _Page(path)
    page.feed("".join(decode_lines(io.BytesIO(read_document(stream, path)))))
    page.close()
    yield from sorted(page.found, key=lambda row: row.line if isinstance(row, Malformed) else row[0])


class _Page(HTMLParser):
    """Collects blocks and items; an item within an item is the value of its property."""

    def __init__(self, path: str) -> None:
        super().__init__(convert_charrefs=True)
        self.path = path
        self.found: list[tuple[int, Row] | Malformed] = []
        self._block: list[str] | None = None
        self._block_line = 0
        self._open: list[tuple[str, Row | None, str | None, list[str]]] = []
        """Elements that are open: name, the item they begin, the property whose text they hold, that text."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script" and given.get("type", "").strip().lower() == "application/ld+json":
            self._block, self._block_line = [], self.getpos()[0]
            return
        item: Row | None = None
        name = given.get("itemprop") or None
        if "itemscope" in given:
            item = {"@type": given.get("itemtype", "").rstrip("/").rpartition("/")[2]}
            if name is None:
                self.found.append((self.getpos()[0], item))
            else:
                self._set(name, item)
            name = None
        elif name is not None and (attribute := _VALUES.get(tag)) and attribute in given:
            self._set(name, given[attribute].strip())
            name = None
        elif name is not None and "content" in given:
            self._set(name, given["content"].strip())
            name = None
        if tag not in _VOID:
            self._open.append((tag, item, name, []))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._block is not None:
            self._read_block("".join(self._block), self._block_line)
            self._block = None
            return
        if not any(name == tag for name, *_ in self._open):
            return
        while self._open:
            name, _, prop, texts = self._open.pop()
            if prop is not None:
                self._set(prop, " ".join("".join(texts).split()))
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._block is not None:
            self._block.append(data)
        for _, _, prop, texts in self._open:
            if prop is not None:
                texts.append(data)

    def _set(self, name: str, value: Any) -> None:
        item = next((item for _, item, _, _ in reversed(self._open) if item is not None), None)
        for prop in name.split() if item is not None else ():
            assert item is not None
            if prop in item:
                item[prop] = [*(item[prop] if isinstance(item[prop], list) else [item[prop]]), value]
            else:
                item[prop] = value

    def _read_block(self, text: str, line: int) -> None:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.found.append(Malformed(self.path, line, f"a block of JSON-LD that is not JSON: {error}"))
            return
        for block in value if isinstance(value, list) else [value]:
            if isinstance(block, dict):
                self.found.append((line, block))
            else:
                kind = type(block).__name__
                self.found.append(Malformed(self.path, line, f"a block of JSON-LD that is no object but {kind}"))

"""HTML as shops keep it in descriptions and names -> text."""

import html
import re
from html.parser import HTMLParser

_TAG = re.compile(
    r"</?(?:a|b|big|blockquote|br|center|div|em|font|h[1-6]|hr|i|iframe|img|li|meta|ol|p|pre|s|script|section|small|span|"
    r"strong|style|sub|sup|table|tbody|td|th|thead|tr|u|ul)(?=[\s/>])[^>]*>|<!--",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_UNSEEN = frozenset(("script", "style", "template", "noscript", "iframe"))
_LINES = ("blockquote", "br", "div", "hr", "li", "ol", "p", "pre", "section", "table", "tr", "ul")
_BLOCKS = frozenset((*_LINES, "h1", "h2", "h3", "h4", "h5", "h6"))
_CELLS = frozenset(("td", "th"))


def to_plain_text(text: str) -> str:
    """Return what a reader of a page would see, a block a line; a text without markup is returned as it is.

    Only tags that descriptions use count as markup, so that `size < 5` and `<3` stay.
    """
    if "<" in text and _TAG.search(text):
        reader = _Reader()
        reader.feed(text)
        reader.close()
        lines = (" ".join(line.split()) for line in "".join(reader.texts).splitlines())
        return "\n".join(line for line in lines if line)
    if "&" in text and _ENTITY.search(text):
        return html.unescape(text).replace("\xa0", " ")
    return text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.unseen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _UNSEEN:
            self.unseen.append(tag)
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.unseen and self.unseen[-1] == tag:
            self.unseen.pop()
        self._separate(tag)

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.texts.append(data.replace("\n", " "))

    def unknown_decl(self, data: str) -> None:
        """Keep what stands in CDATA."""
        if data.startswith("CDATA["):
            self.handle_data(data.removeprefix("CDATA["))

    def _separate(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.texts.append("\n")
        elif tag in _CELLS:
            self.texts.append(" ")

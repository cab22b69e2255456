"""A page as Markdown and as HTML that needs no other file: no script, pictures inside, legible on a phone."""

import base64
import re
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from eshop_ray.artifacts import write_text
from eshop_ray.reporting.page import Page, clean_text

LONG_CELL = 60
"""From this many characters on a cell keeps a width to read it in, also on a phone."""


def write_page(page: Page, folder: Path, stem: str, pictures: Iterable[str] = ()) -> Path:
    """Write both forms of a page into a folder, and the pictures of the Markdown; each file whole or not at all.

    Args:
        page: To write.
        folder: Of the files.
        stem: Name of the files before `.md` and `.html`.
        pictures: Files that an earlier page may have left there.

    Returns:
        The HTML file.
    """
    for name in pictures:
        (folder / name).unlink(missing_ok=True)
    for chart in (chart for section in page.sections for chart in section.charts):
        if chart.file and chart.svg:
            write_text(folder / chart.file, chart.svg.decode())
    write_text(folder / f"{stem}.md", to_markdown(page))
    write_text(folder / f"{stem}.html", to_html(page))
    return folder / f"{stem}.html"


def to_markdown(page: Page) -> str:
    """Return the page as Markdown; of the charts, those that have a file."""
    return _TEMPLATES.get_template("page.md.j2").render(page=page)


def to_html(page: Page) -> str:
    """Return the page as HTML, with every chart inside."""
    return _TEMPLATES.get_template("page.html.j2").render(page=page, long=LONG_CELL)


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", text)


def _escape_sentence(sentence: str) -> str:
    parts = re.split(r"(`[^`]+`)", " ".join(sentence.split()))
    return "".join(_escape_markdown(part) if place % 2 == 0 else part for place, part in enumerate(parts))


def _mark_code(sentence: str) -> Markup:
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(sentence))))


def _to_data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


_TEMPLATES = Environment(
    loader=PackageLoader("eshop_ray.reporting"),
    autoescape=select_autoescape(["html.j2"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {
    "clean": clean_text,
    "data_uri": _to_data_uri,
    "escape_markdown": _escape_markdown,
    "escape_sentence": _escape_sentence,
    "sentence": _mark_code,
}

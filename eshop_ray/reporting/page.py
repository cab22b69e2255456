"""A page of sentences, tables and charts, written as Markdown or as HTML that needs no other file.

Sentences are ours and may hold `code` in backticks; cells may hold anything that a shop or a model wrote, so both
renderers escape them.
"""

import base64
import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eshop_ray.artifacts import write_text

MAX_TEXT = 300
"""Characters of any one text of the data that are shown."""
LONG = 60
"""From this many characters on a cell keeps a width to read it in, also on a phone."""

Level = Literal["well", "attention", "failed"]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header; the columns after the first `num_text` hold numbers, set to the right."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    num_text: int = 1


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, and what it shows in words."""

    draw: Callable[[], bytes | None]
    """Makes the SVG, when somebody wants to see it; None where there is nothing to show."""
    caption: str
    file: str | None = None
    """Name of its file beside a Markdown page; None: Markdown goes without it."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it, in this order."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A title, the one sentence to read when there is no time for more, and sections."""

    title: str
    level: Level
    verdict: str
    sections: Sequence[Section]


def to_markdown(page: Page) -> str:
    """Write the page as Markdown; of the charts, those that `write_charts` writes beside it."""
    blocks = [f"# {_escape_markdown(page.title)}", f"**{page.verdict}**"]
    for section in page.sections:
        blocks += [f"## {section.title}", *section.sentences, *map(_markdown_table, section.tables)]
        blocks += [f"![{chart.caption}]({chart.file})" for chart in section.charts if chart.file]
    return "\n\n".join(blocks) + "\n"


def to_html(page: Page) -> str:
    """Write the page as one HTML file, legible on a phone: pictures inside, no script, nothing to load."""
    title = html.escape(clean_text(page.title))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    body = [f"<h1>{title}</h1>", f'<p class="verdict {page.level}">{_html_sentence(page.verdict)}</p>']
    for section in page.sections:
        body += [f"<h2>{html.escape(section.title)}</h2>"]
        body += [f"<p>{_html_sentence(sentence)}</p>" for sentence in section.sentences]
        body += [_html_table(table) for table in section.tables]
        if section.charts:
            body += ['<div class="charts">', *map(_html_chart, section.charts), "</div>"]
    head += f"<title>{title}</title><style>{_STYLE}</style>"
    return "\n".join(
        ["<!DOCTYPE html>", '<html lang="en">', f"<head>{head}</head>", "<body>", *body, "</body></html>\n"]
    )


def write_charts(page: Page, folder: Path) -> None:
    """Write the pictures that the page's Markdown shows, each whole or not at all."""
    for section in page.sections:
        for chart in section.charts:
            svg = chart.draw() if chart.file else None
            if chart.file and svg is not None:
                write_text(folder / chart.file, svg.decode())


def clean_text(text: str) -> str:
    """Return text that a line, a font and a parser take: short, no control characters, no half surrogates."""
    start = text[:MAX_TEXT].encode("utf-8", "replace").decode()
    words = "".join(char if char.isprintable() else " " for char in start).split()
    return " ".join([*words, "..."] if len(text) > MAX_TEXT else words)


def code(text: str) -> str:
    """Set a word of data as code in a sentence."""
    return f"`{clean_text(text).replace('`', chr(39))}`"


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", clean_text(text))


def _markdown_table(table: Table) -> str:
    rules = ["---" if place < table.num_text else "---:" for place in range(len(table.header))]
    rows = ((_escape_markdown(cell) for cell in row) for row in table.rows)
    return "\n".join(_markdown_line(cells) for cells in (table.header, rules, *rows))


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _html_sentence(sentence: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(sentence))


def _html_table(table: Table) -> str:
    rows = [_html_row("th", table.header, table.num_text)] if any(table.header) else []
    rows += [_html_row("td", [clean_text(cell) for cell in row], table.num_text) for row in table.rows]
    return f'<div class="table"><table>\n{chr(10).join(rows)}\n</table></div>'


def _html_row(tag: str, cells: Sequence[str], num_text: int) -> str:
    written = (_html_cell(tag, cell, place >= num_text) for place, cell in enumerate(cells))
    return f"<tr>{''.join(written)}</tr>"


def _html_cell(tag: str, cell: str, is_number: bool) -> str:
    kind = " class=n" if is_number else " class=long" if len(cell) > LONG else ""
    return f"<{tag}{kind}>{html.escape(cell)}</{tag}>"


def _html_chart(chart: Chart) -> str:
    svg = chart.draw()
    if svg is None:
        return ""
    picture = base64.b64encode(svg).decode()
    caption = html.escape(chart.caption)
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<img src="data:image/svg+xml;base64,{picture}" alt="{caption}"></figure>'
    )


_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --clear: #fff0; --ink: #1a1a1a; --tint: #f3f5f8; --line: #dde2e7;
  --strong: #8a949e; --shade: #0004; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181b; --clear: #15181b00; --ink: #e6e8ea; --tint: #23282d; --line: #343b42; --strong: #76808a;
    --shade: #000c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; overflow-wrap: anywhere; }
.verdict { font-size: 1.1rem; padding: .75rem 1rem; border-left: .4rem solid; background: var(--tint); }
.well { border-color: #009e73; } .attention { border-color: #e69f00; } .failed { border-color: #d55e00; }
code { font-size: .9em; background: var(--tint); padding: .1em .3em; border-radius: .2em; }
/* A shadow at the side where a wide table goes on. */
.table { overflow-x: auto; margin: 1rem 0; background:
  linear-gradient(90deg, var(--paper) 40%, var(--clear)) left / 2.5rem 100% no-repeat local,
  linear-gradient(270deg, var(--paper) 40%, var(--clear)) right / 2.5rem 100% no-repeat local,
  linear-gradient(90deg, var(--shade), #0000) left / .8rem 100% no-repeat,
  linear-gradient(270deg, var(--shade), #0000) right / .8rem 100% no-repeat; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  max-width: 22rem; overflow-wrap: break-word; }
th { font-weight: 600; border-bottom-color: var(--strong); }
.long { min-width: 13rem; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
figure { margin: 0; } img { width: 100%; height: auto; max-width: 30rem; }
figcaption { font-size: .9rem; font-weight: 600; }
/* Pictures are drawn on white: in the dark they keep a white card. */
@media (prefers-color-scheme: dark) {
  img { background: #fff; padding: .5rem; border-radius: .5rem; box-sizing: border-box; } }
"""

"""What every report shares: a page in two forms, a table on the terminal, and names of the data that stay text."""

import re

import pytest

from eshop_ray.reporting.page import Chart, Page, Section, Table
from eshop_ray.reporting.render import LONG_CELL, to_html, to_markdown, write_page
from eshop_ray.reporting.terminal import print_table
from eshop_ray.reporting.words import count, format_seconds

HOSTILE = "size [/cm] <b>|`x` *y*"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def make_page(*charts):
    table = Table(("group", "score"), [(HOSTILE, "0.5"), ("x" * (LONG_CELL + 1), "")])
    section = Section(HOSTILE, ["Split `dev & <test>`."], [table], charts)
    return Page(HOSTILE, "well", "All is `well`.", [section])


def test_markdown_is_laid_out_in_blocks():
    page = Page("demo", "well", "Good.", [Section("One", ["a", "b"], [Table(("", "n"), [("x", "1")])]), Section("Two")])
    blocks = ["# demo", "**Good.**", "## One", "a", "b", "|  | n |\n| --- | ---: |\n| x | 1 |", "## Two"]
    assert to_markdown(page) == "\n\n".join(blocks) + "\n"


def test_markup_in_names_is_shown_not_obeyed():
    markdown, page = to_markdown(make_page()), to_html(make_page())
    escaped = r"size \[/cm\] \<b\>\|\`x\` \*y\*"
    assert markdown.splitlines()[0] == f"# {escaped}"
    assert f"## {escaped}" in markdown
    assert f"| {escaped} | 0.5 |" in markdown
    assert "<b>" not in page
    assert page.count("size [/cm] &lt;b&gt;|`x` *y*") == 4
    assert "<p>Split <code>dev &amp; &lt;test&gt;</code>.</p>" in page


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("It costs `ner` 2.1%.", "It costs `ner` 2.1%."),
        ("It costs <i>x 2.1%.", r"It costs \<i\>x 2.1%."),
        ("a\n# b [c](d)", r"a # b \[c\](d)"),
        ("half a ` tick", r"half a \` tick"),
        ("`a|b` and *c*", r"`a|b` and \*c\*"),
    ],
)
def test_markup_in_a_sentence_is_shown_not_obeyed(text, sentence):
    assert to_markdown(Page("demo", "well", text, [])).splitlines()[2] == f"**{sentence}**"
    assert to_markdown(Page("demo", "well", "", [Section("One", [text])])).splitlines()[6] == sentence


def test_numbers_are_set_to_the_right_and_long_cells_keep_their_width():
    page = to_html(make_page())
    assert '<tr><th>group</th><th class="n">score</th></tr>' in page
    assert '<td class="n">0.5</td></tr>' in page
    assert f'<tr><td class="long">{"x" * (LONG_CELL + 1)}</td>' in page


def test_pictures_of_an_earlier_page_go(tmp_path):
    chart = Chart(lambda: SVG, "a picture", "new.svg")
    (tmp_path / "old.svg").write_text("")
    html = write_page(make_page(chart, Chart(lambda: None, "nothing", "none.svg")), tmp_path, "page", ["old.svg"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.svg", "page.html", "page.md"]
    assert "![a picture](new.svg)" in (tmp_path / "page.md").read_text()
    assert len(re.findall("<img ", html.read_text())) == 1


@pytest.mark.parametrize("name", [HOSTILE, "[red]ner[/red]", "[/]"])
def test_terminal_shows_names_as_they_are(capsys, name):
    print_table(Table((name, "n"), [(name, "1")]), name, bold=[name])
    assert capsys.readouterr().out.count(name) == 3


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0.0, "0 s"),
        (0.42, "0.4 s"),
        (9.96, "10 s"),
        (12.3, "12 s"),
        (59.7, "1 min 00 s"),
        (250, "4 min 10 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations_are_written_as_people_do(seconds, words):
    assert format_seconds(seconds) == words


def test_things_are_counted_in_words():
    assert [count(number, "row") for number in (0, 1, 2465)] == ["0 rows", "1 row", "2,465 rows"]

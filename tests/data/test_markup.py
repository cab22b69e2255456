"""HTML of descriptions becomes text, and what only looks like HTML stays."""

import pytest

from eshop_ray.data.markup import to_plain_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>Cast <b>iron</b>.</p><ul><li>heavy</li><li>black</li></ul>", "Cast iron.\nheavy\nblack"),
        ("Warm<br>and<br/>soft", "Warm\nand\nsoft"),
        ("20.000&nbsp;mm &amp; more", "20.000 mm & more"),
        ("<p>20.000&nbsp;mm</p>", "20.000 mm"),
        ("Safe<script>alert('x')</script><style>p {}</style> text<!-- note -->", "Safe text"),
        ("<table><tr><td>Size</td><td>M</td></tr></table>", "Size M"),
        ("<P CLASS='x'>Upper</P>", "Upper"),
        ("<p>never closed", "never closed"),
    ],
)
def test_a_reader_sees(markup, text):
    assert to_plain_text(markup) == text


@pytest.mark.parametrize(
    "text", ["size < 5", "<3 this", "a <-> b", "5 > 3", "R&D", "AT&T;", "<pan>", "line\nend  two", ""]
)
def test_what_is_no_markup_stays(text):
    assert to_plain_text(text) == text


def test_many_open_brackets_take_no_time():
    assert to_plain_text("<" * 100_000 + "<b>x</b>").endswith("x")

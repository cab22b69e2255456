"""Whole pages of a shop -> what they say of the product: menus, headers, footers and forms are left out."""

import re

from eshop_ray.data.markup import to_plain_text

PAGE = r"(?i)<(?:!doctype html|html|body|main|nav|footer)[\s>]"
"""What marks a page, of which a fragment of HTML has nothing."""
_LEFT_OUT = (
    "//head|//nav|//header|//footer|//aside|//form|//script|//style|//noscript|//template|//iframe|//svg|//button"
    "|//*[@role='navigation' or @role='banner' or @role='contentinfo' or @role='search' or @aria-hidden='true']"
)
_PAGE = re.compile(PAGE)


def read_page(text: str) -> str:
    """Return the text of a page, a block a line: of its `<main>` where it has one.

    What is no page is returned as it is.
    """
    if not _PAGE.search(text):
        return text
    # Imported here: few catalogues hold pages.
    from lxml import etree, html

    try:
        tree = html.document_fromstring(text.encode())
    except etree.ParserError:
        return ""
    for element in tree.xpath(_LEFT_OUT):
        if element.getparent() is not None:
            element.drop_tree()
    main = tree.find(".//main")
    return to_plain_text(html.tostring(tree if main is None else main, encoding="unicode"))

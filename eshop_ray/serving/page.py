"""The page at `/`: three files that are served as they are."""

from functools import cache
from pathlib import Path
from typing import Any

from eshop_ray.serving.errors import Reply
from eshop_ray.serving.visits import Visit

FOLDER = Path(__file__).parent / "page_files"
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
"""Address -> file and type."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def show_page(visit: Visit, _body: dict[str, Any]) -> Reply:
    """A file of the page. It holds nothing of a shop, so that it needs no key."""
    name, kind = PAGES[visit.route]
    return Reply(200, _read(name), {**HEADERS, "Content-Type": kind})


@cache
def _read(name: str) -> bytes:
    return (FOLDER / name).read_bytes()

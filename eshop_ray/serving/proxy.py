"""What Ray Serve's proxies get of a request's headers: they obey some of them, and write one into logs as it comes."""

import os

from ray.serve._private.constants import (
    SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
    SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
    SERVE_MULTIPLEXED_MODEL_ID,
    SERVE_SESSION_ID,
)
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from eshop_ray.serving.visits import ID_HEADER, name_request

VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Of the environment of Ray's nodes; it names the function that tells proxies what to put before them."""
CALLBACK = "eshop_ray.serving.proxy:list_middlewares"

Headers = list[tuple[bytes, bytes]]


def fold_name(name: str) -> str:
    """Return a header's name as Ray Serve compares it."""
    return name.lower().replace("-", "_")


OBEYED = frozenset(
    map(
        fold_name,
        (
            SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
            SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
            SERVE_MULTIPLEXED_MODEL_ID,
            SERVE_SESSION_ID,
        ),
    )
)
"""Headers by which a client could have its answer generated after it left, or choose which gateway is asked."""


class HeaderFilter:
    """Takes from requests the headers that Ray Serve obeys, and names those that bring no name fit for a log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        if scope["type"] == "http":
            scope["headers"] = filter_headers(scope["headers"])
        await self._app(scope, receive, send)


def filter_headers(headers: Headers) -> Headers:
    """Return the headers that Ray Serve may see, with one safe id of the request."""
    read = [(fold_name(name.decode("latin-1")), name, value) for name, value in headers]
    id_name = fold_name(ID_HEADER)
    given = next((value.decode("latin-1") for folded, _, value in read if folded == id_name), "")
    kept = [(name, value) for folded, name, value in read if folded not in OBEYED and folded != id_name]
    return [*kept, (ID_HEADER.encode(), name_request(given).encode())]


def list_middlewares() -> list[Middleware]:
    """Return what stands before Ray Serve's proxies."""
    return [Middleware(HeaderFilter)]


def filter_in_proxies() -> None:
    """Have the proxies of a Ray that this process starts filter headers; other nodes need `VARIABLE` themselves."""
    os.environ[VARIABLE] = CALLBACK

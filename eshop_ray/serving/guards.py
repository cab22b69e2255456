"""What a request has to be before anything of it is read: not a web page's, for this host, with a key."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.keys import ApiKey, KeyRing

LOCAL_NAMES = ("localhost", "localhost.localdomain")
CROSS_SITE = ("cross-site", "same-site")


def is_loopback(host: str) -> bool:
    """Return whether a host, without a port, is this machine for itself."""
    if host.lower() in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_page(headers: Headers) -> None:
    """Refuse what a web page of another origin asks for, and what it asks before: there is no CORS.

    Raises:
        RefusalError: if so.
    """
    origin = headers.get("origin")
    is_foreign = origin is not None and _find_place(origin) != headers.get("host", "").lower()
    if is_foreign or headers.get("sec-fetch-site") in CROSS_SITE:
        raise RefusalError(403, "web pages of other origins may not use this endpoint", "foreign_origin")


def _find_place(origin: str) -> str | None:
    """Return host and port of an origin; None of one that has none: `null`, or no address at all."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def check_host(scope: Scope, headers: Headers, allowed: Collection[str]) -> None:
    """Refuse what did not mean this machine: the browser of a page whose name was made to point here.

    Raises:
        RefusalError: if the client is on this machine and `Host` is not, nor among the allowed names.
    """
    client = scope.get("client")
    if client and not is_loopback(client[0]):
        return
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        host = ""
    if not is_loopback(host) and host not in {name.lower() for name in allowed}:
        raise RefusalError(403, "`Host` names another machine; see `serve.allowed_hosts`", "foreign_host")


def find_key(scope: Scope, headers: Headers, keys: KeyRing) -> ApiKey | None:
    """Return whose request it is; None on an endpoint without keys, which only this machine may use.

    Raises:
        RefusalError: if a key is wanted and none that holds is given.
    """
    if keys.is_open:
        client = scope.get("client")
        if client and not is_loopback(client[0]):
            raise RefusalError(403, "without API keys only this machine may use the endpoint", "keys_wanted")
        return None
    scheme, _, given = headers.get("authorization", "").partition(" ")
    key = keys.find(given.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        raise RefusalError(401, "an API key is wanted: `Authorization: Bearer KEY`", "invalid_api_key")
    return key

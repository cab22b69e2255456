"""One request from its first byte to its line in the access log."""

import json
import logging
import re
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.types import Scope, Send

from eshop_ray.serving.errors import Reply
from eshop_ray.serving.keys import ApiKey

ID_HEADER = "x-request-id"
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a client may call its request; other text has no place in a log."""

CLIENT_GONE = 499
"""What the access log has for a client that left, after nginx; nobody is sent it."""

STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
REPLY_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

FILE_HEADERS = {
    **REPLY_HEADERS,
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
}

access = logging.getLogger("eshop_ray.access")


def name_request(given: str) -> str:
    """Return what a request is called: as its client calls it, where that may stand in a log."""
    return given if SAFE_ID.fullmatch(given) else uuid4().hex


@dataclass(frozen=True, slots=True)
class Download:
    """A response that is a file."""

    num_bytes: int
    blocks: AsyncIterator[bytes]


@dataclass(slots=True)
class Visit:
    """What is known of a request."""

    scope: Scope
    headers: Headers
    request_id: str
    is_named: bool
    """Whether it brought its id: who gave it that, sends it back."""
    route: str = ""
    """Its address as the documentation writes it: what a client puts there instead is not logged."""
    path_params: dict[str, str] = field(default_factory=dict)
    task: str | None = None
    """The task that it is for, once that is known to exist."""
    key: ApiKey | None = None
    status: int = CLIENT_GONE
    refusal: str | None = None
    """`code` of the error that it ended in."""
    has_begun: bool = False
    """Whether the client has the first byte of a response."""
    num_file_bytes: int | None = None
    """Of the file that is the response, if it is one: no word of ours may get into it."""
    num_read: int = 0
    num_written: int = 0
    began: float = field(default_factory=time.monotonic)
    first_token_seconds: float | None = None
    """After which the model's first token came, of a stream."""

    @classmethod
    def begin(cls, scope: Scope) -> "Visit":
        """Return a request that came in."""
        headers = Headers(scope=scope)
        given = headers.get(ID_HEADER, "")
        return cls(scope, headers, name_request(given), is_named=bool(given))

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def log(self) -> None:
        """Write its line: nothing of what was asked or answered, and of the key its id only."""
        line = {
            "time": time.time(),
            "request_id": self.request_id,
            "key": self.key.id if self.key else None,
            "method": self.scope["method"],
            "route": self.route,
            "task": self.task,
            "status": self.status,
            "error": self.refusal,
            "input_tokens": self.num_read,
            "generated_tokens": self.num_written,
            "seconds": round(self.seconds, 4),
        }
        access.info(json.dumps(line))

    async def reply(self, send: Send, reply: Reply) -> None:
        """Send a whole response."""
        self.refusal = reply.code
        await self._start(send, reply.status, {**REPLY_HEADERS, **reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def stream(self, send: Send, events: AsyncIterator[str]) -> None:
        """Send a response as it comes."""
        await self._start(send, 200, STREAM_HEADERS)
        async for event in events:
            if event:
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body"})

    async def send_file(self, send: Send, file: Download) -> None:
        """Send a file. A client that gets fewer bytes than it was told has not got all of it."""
        await self._start(send, 200, {**FILE_HEADERS, "Content-Length": str(file.num_bytes)})
        async for block in file.blocks:
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body"})

    async def _start(self, send: Send, status: int, headers: dict[str, str]) -> None:
        self.status, self.has_begun = status, True
        own = {} if self.is_named else {ID_HEADER: self.request_id}
        raw = [(name.lower().encode(), value.encode()) for name, value in {**headers, **own}.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})


def open_access_log() -> None:
    """Have the access log go to standard output as it is: a JSON object a line."""
    if not access.handlers:
        handler: Any = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        access.addHandler(handler)
        access.setLevel(logging.INFO)
        access.propagate = False

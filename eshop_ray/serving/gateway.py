"""The application that clients talk to: an ASGI application in front of the model."""

import asyncio
import logging
import traceback
from collections import defaultdict
from typing import Any

from starlette.routing import Match
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from eshop_ray.config import ServeSection
from eshop_ray.serving.addresses import STARTING_SECONDS, Address, list_addresses, list_batch_addresses
from eshop_ray.serving.batches.endpoints import BatchEndpoints
from eshop_ray.serving.bodies import ClientGoneError, read_object
from eshop_ray.serving.catalogue import CatalogueEndpoints
from eshop_ray.serving.endpoints import Endpoints
from eshop_ray.serving.errors import RefusalError, Reply, render_refusal, time_is_up
from eshop_ray.serving.guards import check_host, check_page, find_key, is_loopback
from eshop_ray.serving.keys import KeyRing
from eshop_ray.serving.metrics import IN_HAND, Recorder, record_visit
from eshop_ray.serving.presence import run_before, watch_client
from eshop_ray.serving.readiness import Readiness
from eshop_ray.serving.usage import write_refusal
from eshop_ray.serving.visits import Download, Visit

logger = logging.getLogger(__name__)

DOWNLOAD_SECONDS = 5.0
"""After which there may be room for another download."""

MAX_DOWNLOADED_BYTES = 256 * 1024 * 1024
"""Of all files that clients are being sent at a time: Ray Serve takes a response from the gateway as fast as it comes,
and what a slow client has not got yet stands in memory. One file may be longer, alone."""


class Gateway:
    """Lets through what may pass, and answers everything else itself."""

    def __init__(
        self,
        config: ServeSection,
        keys: KeyRing,
        endpoints: Endpoints,
        readiness: Readiness,
        catalogue: CatalogueEndpoints,
        recorder: Recorder,
        batches: BatchEndpoints | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            config: Limits.
            keys: Who may ask.
            endpoints: What is answered.
            readiness: Whether the model is up.
            catalogue: What is answered about products.
            recorder: Where measurements go.
            batches: What is answered about files and batches; None: nothing.
        """
        self._config, self._keys, self._readiness, self._recorder = config, keys, readiness, recorder
        self._addresses = [*list_addresses(endpoints, readiness, catalogue), *list_batch_addresses(batches)]
        self._by_path: dict[str, list[Address]] = defaultdict(list)
        for address in self._addresses:
            self._by_path[address.route.path].append(address)
        self._is_local = keys.is_open or is_loopback(config.host)
        self._num_running = 0
        self._num_downloaded_bytes = 0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Take no new request, and return once the running ones are answered; False if they are not in that time."""
        self._is_draining = True
        self._readiness.end()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever it is."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            visit = Visit.begin(scope)
            try:
                await self._answer(visit, receive, send)
            except ClientGoneError:
                pass
            finally:
                visit.log()
                record_visit(self._recorder, visit)

    async def _answer(self, visit: Visit, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._config.request_seconds):
                address = self._find_address(visit)
                if address.wants_key:
                    await self._answer_in_room(address, visit, receive, send)
                else:
                    await self._send(address, visit, {}, send)
        except RefusalError as error:
            await self._refuse(visit, send, error)
        except TimeoutError:
            await self._refuse(visit, send, time_is_up(self._config.request_seconds))
        except ClientGoneError:
            raise
        except Exception as error:  # its text may quote the request
            place = traceback.extract_tb(error.__traceback__)[-1]
            logger.error("request %s: %s at %s:%s", visit.request_id, type(error).__name__, place.name, place.lineno)
            await self._refuse(visit, send, RefusalError(500, "trouble of the endpoint's own", "server_error"))

    def _find_address(self, visit: Visit) -> Address:
        """Return what a request is for.

        Raises:
            RefusalError: if it may not ask that, or there is nothing there.
        """
        match, found = self._match(visit)
        if found is None or not found.is_page:
            check_page(visit.headers)
        if self._is_local:
            check_host(visit.scope, visit.headers, self._config.allowed_hosts)
        if found is None or found.wants_key:
            visit.key = find_key(visit.scope, visit.headers, self._keys)
        if found is None:
            raise RefusalError(404, "there is nothing at this address; see /openapi.json", "not_found")
        if match is Match.PARTIAL:
            message = "this address does not take that method; see /openapi.json"
            there = {method for one in self._by_path[found.route.path] for method in one.route.methods or ()}
            raise RefusalError(405, message, "invalid_method", allow=sorted(there))
        return found

    def _match(self, visit: Visit) -> tuple[Match, Address | None]:
        """Return the address that a request is for, and whether it takes the method (`FULL`, else `PARTIAL`)."""
        found: tuple[Match, Address | None] = (Match.NONE, None)
        for address in self._by_path.get(visit.scope["path"], self._addresses):
            match, child = address.route.matches(visit.scope)
            if match is Match.FULL or (match is Match.PARTIAL and found[1] is None):
                visit.route, visit.path_params = address.route.path, child["path_params"]
                found = match, address
            if match is Match.FULL:
                break
        return found

    async def _answer_in_room(self, address: Address, visit: Visit, receive: Receive, send: Send) -> None:
        if self._is_draining:
            raise RefusalError(503, "the endpoint is being stopped", "stopping", retry_after=STARTING_SECONDS)
        if address.wants_model and not self._readiness.is_up:
            raise RefusalError(503, "the model is being started", "starting", retry_after=STARTING_SECONDS)
        if self._num_running >= self._config.max_concurrent_requests:
            raise RefusalError(503, "too many requests at a time", "overloaded", retry_after=1)
        self._count_running(1)
        try:
            body = await self._read_body(address, visit, receive)
            async with watch_client(receive) as gone:
                await run_before(gone, self._send(address, visit, body, send))
                if visit.num_file_bytes is not None:  # servers say so too once a client has got all of a response
                    await gone
        finally:
            self._num_downloaded_bytes -= visit.num_file_bytes or 0
            self._count_running(-1)

    def _count_running(self, more: int) -> None:
        self._num_running += more
        self._recorder.record(IN_HAND, self._num_running, {})
        if self._num_running:
            self._idle.clear()
        else:
            self._idle.set()

    async def _read_body(self, address: Address, visit: Visit, receive: Receive) -> dict[str, Any]:
        if address.read_body:
            return await address.read_body(visit, receive)
        takes_body = "POST" in (address.route.methods or ())
        return await read_object(visit.scope, receive, self._config.max_body_bytes) if takes_body else {}

    async def _send(self, address: Address, visit: Visit, body: dict[str, Any], send: Send) -> None:
        outcome = await address.handle(visit, body)
        if isinstance(outcome, Reply):
            await visit.reply(send, outcome)
        elif isinstance(outcome, Download):
            self._count_download(visit, outcome)
            await visit.send_file(send, outcome)
        else:
            async with outcome:
                await visit.stream(send, outcome.events)

    def _count_download(self, visit: Visit, file: Download) -> None:
        """Take up room for a file, until the request is over.

        Raises:
            RefusalError: if there is not as much.
        """
        others = self._num_downloaded_bytes
        if others and others + file.num_bytes > MAX_DOWNLOADED_BYTES:
            message = "too many files are being downloaded at a time"
            raise RefusalError(503, message, "overloaded", retry_after=DOWNLOAD_SECONDS)
        visit.num_file_bytes = file.num_bytes
        self._num_downloaded_bytes += file.num_bytes

    async def _refuse(self, visit: Visit, send: Send, error: RefusalError) -> None:
        """Send a refusal, as the last event where a stream has begun."""
        if visit.num_file_bytes is not None and visit.has_begun:  # the server ends the connection
            return
        if visit.has_begun:
            visit.refusal = error.code
            await send({"type": "http.response.body", "body": write_refusal(error).encode()})
        else:
            await visit.reply(send, render_refusal(error))


async def _live(receive: Receive, send: Send) -> None:
    """Go along with the server's start and stop: there is nothing to prepare."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return

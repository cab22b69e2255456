"""The engine: it sends requests, and says of each what it came to. Trying again is for the supervisor to say."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from pydantic import SecretStr

from eshop_ray.config import OpenaiSection
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.lifecycle import EngineDiedError
from eshop_ray.inference.engines.openai.chat_request import Size, build_body, measure
from eshop_ray.inference.engines.openai.chat_response import FINAL_STATUSES, Verdict, judge_response
from eshop_ray.inference.requests import Answer, Busy, Failure, Reply, Request
from eshop_ray.reporting.words import format_seconds

PATH = "/chat/completions"
PROBED = "/models"
"""What every such endpoint answers, if only with a 404."""
MAX_TROUBLES = 20
"""Tries in a row, or three for each request under way, after which it is no row's trouble: all are held back."""
PAUSE_SECONDS = 10.0
OUTAGE_SECONDS = 180.0
"""Trouble that lasts so long ends the job: a later run asks what is left."""
MAX_REFUSED = 20
"""Rows refused before any was answered, after which it is the requests and not the rows."""
CONNECT_SECONDS = 20.0
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class OpenaiEngine:
    """Asks an endpoint; what it remembers is whether the endpoint works."""

    def __init__(self, config: OpenaiSection, key: SecretStr | None, find_meter: Callable[[], Any]) -> None:
        """Take note of whom to ask.

        Args:
            config: The endpoint.
            key: Its secret.
            find_meter: Returns the handle of the run's `Meter`.
        """
        self._config = config
        self._secret = key
        self._find_meter = find_meter
        self._meter: Any = None
        self._client: httpx.AsyncClient | None = None
        self._num_troubles = 0
        self._trouble_began = 0.0
        self._num_refused = 0
        self._has_answered = False
        self._num_looks = 0
        self._most_troubles = max(MAX_TROUBLES, 3 * config.max_concurrent_requests)

    async def start(self) -> None:
        """Find out whether the endpoint can be reached, and takes the key.

        Raises:
            EngineDiedError: if it cannot be reached.
            UserError: if it does not take the key.
        """
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
        if self._client is None:
            self._client, self._meter = self._connect(), self._find_meter()
            self._has_answered = await self._meter.has_answered.remote()
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                response = await self._client.get(f"{self._config.base_url}{PROBED}")
        except (TimeoutError, httpx.HTTPError) as error:
            raise EngineDiedError(f"{self._config.base_url} cannot be reached: {type(error).__name__}") from None
        if response.status_code in (401, 403):
            raise self._refuse(f"HTTP {response.status_code}: {FINAL_STATUSES[response.status_code]}")

    async def ask(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """Send each request by itself.

        Raises:
            UserError: if it takes no request, and never has.
        """
        replies = await asyncio.gather(*map(self._ask, requests), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return [reply for reply in replies if not isinstance(reply, BaseException)]

    async def measure_progress(self) -> int:
        """Return another number each time: every request has a time-out of its own, and may wait long for its turn."""
        self._num_looks += 1
        return self._num_looks

    async def stop(self) -> None:
        """Leave the endpoint alone: nothing of it is ours to end."""

    def _connect(self) -> httpx.AsyncClient:
        key = self._secret.get_secret_value() if self._secret else None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        most = self._config.max_concurrent_requests
        return httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(self._config.timeout_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=most + 1, max_keepalive_connections=most + 1),
        )

    async def _ask(self, request: Request) -> Reply:
        body = build_body(request, self._config)
        size = measure(body)
        reply = None
        while reply is None:  # an outage is no row's trouble, so it costs no row its tries
            reply = await self._try(body, size)
        return reply

    async def _try(self, body: dict[str, Any], size: Size) -> Reply | None:
        ended = await self._meter.admit.remote(size)
        if ended is not None:
            return Failure("stopped", ended)
        verdict = await self._send(body)
        is_answer = isinstance(verdict.reply, Answer)
        await self._meter.settle.remote(size, verdict.usage, verdict.is_charged, is_answer)
        if verdict.pause:
            await self._meter.pause.remote(verdict.pause)
        return await self._note(verdict)

    async def _send(self, body: dict[str, Any]) -> Verdict:
        assert self._client
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                response = await self._client.post(f"{self._config.base_url}{PATH}", json=body)
        except NOT_SENT as error:
            return Verdict(Busy(f"cannot be reached: {type(error).__name__}"), is_trouble=True)
        except (TimeoutError, httpx.TimeoutException):
            late = f"no answer within {format_seconds(self._config.timeout_seconds)}"
            return Verdict(Busy(late), is_charged=True, is_trouble=True)
        except httpx.HTTPError as error:
            return Verdict(Busy(f"connection lost: {type(error).__name__}"), is_charged=True, is_trouble=True)
        key = self._secret.get_secret_value() if self._secret else None
        return judge_response(response.status_code, response.headers, response.text, body, key)

    async def _note(self, verdict: Verdict) -> Reply | None:
        """Return the reply, None for asking again; or end the run if the reply shows that there is no use in going on.

        Raises:
            UserError: as `ask`; once something was answered, rows fail instead, so that answers on their way are kept.
        """
        end = verdict.end or self._count_refusal(verdict) or await self._count_trouble(verdict)
        if end is None:
            self._has_answered |= isinstance(verdict.reply, Answer)
            return None if self._num_troubles > self._most_troubles else verdict.reply
        await self._meter.stop.remote(end)
        if not self._has_answered:
            raise self._refuse(end)
        return Failure("stopped", end)

    async def _count_trouble(self, verdict: Verdict) -> str | None:
        """Hold all requests back while the endpoint is in trouble; return why the job has to end if that lasts."""
        if not verdict.is_trouble:
            self._num_troubles = 0
            return None
        self._num_troubles += 1
        if self._num_troubles == 1:
            self._trouble_began = time.monotonic()
        if self._num_troubles <= self._most_troubles:
            return None
        seconds = time.monotonic() - self._trouble_began
        if seconds < OUTAGE_SECONDS:
            await self._meter.pause.remote(PAUSE_SECONDS)
            return None
        message = verdict.reply.message if isinstance(verdict.reply, Busy | Failure) else ""
        return f"the endpoint has been in trouble for {format_seconds(seconds)}: {message}"

    def _count_refusal(self, verdict: Verdict) -> str | None:
        """Return why the job has to end if the endpoint refuses whatever it is asked."""
        if self._has_answered or not isinstance(verdict.reply, Failure) or verdict.reply.reason == "too_long":
            return None
        self._num_refused += 1
        if self._num_refused < MAX_REFUSED:
            return None
        return f"it refused the first {self._num_refused} requests, the last one so: {verdict.reply.message}"

    def _refuse(self, reason: str) -> UserError:
        return UserError(
            f"{self._config.base_url}, model `{self._config.model}`: {reason}. See `openai.base_url`, `openai.model`, "
            "`openai.extra_body`, and `openai.api_key_env` for the variable that holds the key"
        )

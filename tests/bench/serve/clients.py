"""Clients of an endpoint: each asks, reads to the end, and asks again."""

import asyncio
import itertools
import json
import time

import httpx

from tests.bench.serve.figures import BROKEN, HUNG, NOBODY, Got

PATIENCE_SECONDS = 330.0
"""Beyond `serve.request_seconds`, within which an endpoint has to say something."""
WORDS = ["steel", "wool", "red", "blue", "warm", "light", "large", "small"]
WORDS += ["cotton", "travel", "kitchen", "garden", "soft", "deep", "round", "flat"]


def write_body(number, model, new_tokens, stream=True):
    """Return a chat whose prompt is like no other."""
    words = [WORDS[(number // len(WORDS) ** place + place) % len(WORDS)] for place in range(24)]
    question = f"Describe product {number}, which is {' '.join(words)}."
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": new_tokens}
    return {**body, "temperature": 0, "ignore_eos": True, "stream": stream}


async def ask(http, url, body, headers=None):
    """Send one request and follow its answer."""
    began, first, num_tokens, status = time.monotonic(), None, 0, NOBODY
    try:
        async with http.stream("POST", url, json=body, headers=headers) as response:
            status = response.status_code
            is_whole = not body["stream"]
            async for line in response.aiter_lines():
                if status != 200 or not body["stream"] or not line.startswith("data: "):
                    continue
                is_whole |= line == "data: [DONE]"
                if not is_whole and json.loads(line[6:]).get("choices"):
                    num_tokens += 1
                    first = first or time.monotonic()
            if status == 200 and not is_whole:
                status = BROKEN
    except httpx.TimeoutException:
        status = HUNG
    except httpx.TransportError:
        status = NOBODY if status == NOBODY else BROKEN
    return Got(began, first, time.monotonic(), status, num_tokens)


async def load(url, num_clients, num_requests, write, headers=None):
    """Return what becomes of requests that so many clients send, each one after another.

    Args:
        url: Where to.
        num_clients: At a time.
        num_requests: In all.
        write: Number -> body.
        headers: Of every request.
    """
    numbers = iter(range(num_requests))
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=num_clients)
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, limits=limits) as http:

        async def go_on():
            return [await ask(http, url, write(number), headers) for number in numbers]

        return list(itertools.chain.from_iterable(await asyncio.gather(*(go_on() for _ in range(num_clients)))))

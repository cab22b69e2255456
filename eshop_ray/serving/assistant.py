"""The shop's assistant: retrieve, ask, and answer with what was cited or not at all."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict
from typing import Any, cast

from eshop_ray.data.search_index import Document
from eshop_ray.schema import Message
from eshop_ray.serving.catalogue import MAX_COMPARED, Catalogue, CatalogueEndpoints
from eshop_ray.serving.endpoints import Endpoints, Events, Outcome
from eshop_ray.serving.errors import RefusalError, Reply, reply_json
from eshop_ray.serving.grounding import (
    MAX_MESSAGES,
    UNKNOWN,
    CitationReader,
    Source,
    build_constraint,
    build_messages,
    list_sources,
)
from eshop_ray.serving.usage import EVENT_START, LAST_EVENT, write_event
from eshop_ray.serving.visits import Visit

NUM_PRODUCTS = 3
"""That a question is answered from."""
RELEVANT_COSINE = 0.3
"""Between a question and a product, below which the product says nothing about it."""
ANSWER_TOKENS = 160
PROMPT_TOKENS = 250
"""Of the instruction, the template and a question of usual length."""
CHARACTERS_PER_TOKEN = 3
"""Fewer than English has: the prompt is to fit."""
MAX_SOURCE_CHARACTERS = 4000


class Assistant:
    """Answers questions about products."""

    def __init__(self, catalogue: CatalogueEndpoints, endpoints: Endpoints) -> None:
        """Put the parts together.

        Args:
            catalogue: What answers are made from.
            endpoints: The model, as clients ask it: within their budgets.
        """
        self._catalogue, self._endpoints = catalogue, endpoints

    async def answer(self, visit: Visit, body: dict[str, Any]) -> Outcome:
        """The answer to the last message of a chat, as it comes or whole."""
        turns, products, wants_stream = read_chat(body)
        catalogue = await self._catalogue.open(visit)
        sources = list_sources(await retrieve(catalogue, turns, products), self._count_room())
        found: Outcome | None = None
        if sources:
            found = await self._endpoints.chat(visit, self._write_request(turns, sources))
            if isinstance(found, Reply):
                return found
        grounded = GroundedAnswer(cast("Events | None", found), sources)
        if wants_stream:
            return grounded
        async with grounded:
            events = [event async for event in grounded.read()]
        text = "".join(event["text"] for event in events if event["type"] == "text")
        return reply_json({"answer": text, **{name: part for name, part in events[-1].items() if name != "type"}})

    def _count_room(self) -> int:
        room = (self._endpoints.context - ANSWER_TOKENS - PROMPT_TOKENS) * CHARACTERS_PER_TOKEN
        return max(0, min(MAX_SOURCE_CHARACTERS, room))

    def _write_request(self, turns: Sequence[Message], sources: Sequence[Source]) -> dict[str, Any]:
        return {
            "model": self._endpoints.model_id,
            "messages": build_messages(turns, sources),
            "stream": True,
            "temperature": 0.0,
            "max_tokens": ANSWER_TOKENS,
            "structured_outputs": {"regex": build_constraint(sources)},
        }


class GroundedAnswer(AbstractAsyncContextManager["GroundedAnswer"]):
    """The stream of an answer: its sources, its text once it has cited one of them, and what it cited."""

    def __init__(self, found: Events | None, sources: Sequence[Source]) -> None:
        """Begin it.

        Args:
            found: What the model writes; None: it is not asked, for nothing was found.
            sources: What it may cite.
        """
        self._found, self._sources = found, sources
        self._stack = AsyncExitStack()
        self.events = self._write()

    async def __aenter__(self) -> "GroundedAnswer":
        if self._found is not None:
            await self._stack.enter_async_context(self._found)
        return self

    async def __aexit__(self, *_: object) -> None:
        await cast("Any", self.events).aclose()
        await self._stack.aclose()

    async def read(self) -> AsyncIterator[dict[str, Any]]:
        """Yield events as objects with their `type`: `sources`, `text` several times, `end`."""
        yield {"type": "sources", "sources": [asdict(source) for source in self._sources]}
        reader = CitationReader(len(self._sources))
        if self._found is not None:
            async for event in self._found.events:
                if text := reader.feed(read_delta(event)):
                    yield {"type": "text", "text": text}
        rest = reader.finish() if reader.cited else UNKNOWN
        if rest:
            yield {"type": "text", "text": rest}
        cited = [asdict(self._sources[number - 1]) for number in reader.cited]
        yield {"type": "end", "answered": bool(cited), "citations": cited}

    async def _write(self) -> AsyncIterator[str]:
        async for event in self.read():
            yield write_event(json.dumps(event))
        yield write_event(LAST_EVENT)


def read_delta(event: str) -> str:
    """Return the text in an event of a chat's stream."""
    data = event.strip().removeprefix(EVENT_START)
    if not data or data == LAST_EVENT:
        return ""
    choices = json.loads(data).get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


def read_chat(body: Mapping[str, Any]) -> tuple[list[Message], list[str], bool]:
    """Return the messages of a request, the products that it names, and whether it wants a stream.

    Raises:
        RefusalError: if they are none.
    """
    if set(body) - {"messages", "products", "stream"}:
        raise RefusalError(400, "there are `messages`, `products` and `stream`", "unknown_field")
    turns, products, wants_stream = body.get("messages"), body.get("products", []), body.get("stream", True)
    if not isinstance(turns, list) or not 1 <= len(turns) <= MAX_MESSAGES or not all(map(_is_turn, turns)):
        text = f"has to be a list of 1 to {MAX_MESSAGES} objects with `role` (user or assistant) and `content`, a text"
        raise RefusalError(422, text, "invalid_value", "messages")
    if turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise RefusalError(422, "the last message has to be a question of the user", "invalid_value", "messages")
    is_list = isinstance(products, list) and len(products) <= MAX_COMPARED
    if not is_list or not all(isinstance(one, str) for one in products):
        raise RefusalError(422, f"has to be a list of up to {MAX_COMPARED} ids", "invalid_value", "products")
    if not isinstance(wants_stream, bool):
        raise RefusalError(400, "has to be true or false", "invalid_value", "stream")
    return turns, products, wants_stream


def _is_turn(turn: Any) -> bool:
    is_object = isinstance(turn, dict) and turn.keys() == {"role", "content"}
    return is_object and turn["role"] in ("user", "assistant") and isinstance(turn["content"], str)


async def retrieve(catalogue: Catalogue, turns: Sequence[Message], products: Sequence[str]) -> list[Document]:
    """Return the products that a question is about: those that are named, then those that it means.

    Where it means none, it may go on from the question before it.
    """
    named = await catalogue.find(products) if products else []
    asked = [turn["content"] for turn in turns if turn["role"] == "user"]
    for query in (asked[-1], " ".join(asked[-2:])):
        hits = await catalogue.search(query[:MAX_SEARCHED_CHARACTERS], (), NUM_PRODUCTS)
        meant = [hit.document for hit in hits if hit.cosine >= RELEVANT_COSINE]
        if meant or len(asked) == 1:
            break
    known = {document.id for document in named}
    return [*named, *(document for document in meant if document.id not in known)][: max(NUM_PRODUCTS, len(named))]


MAX_SEARCHED_CHARACTERS = 1000
"""Of a question that its meaning is taken from."""

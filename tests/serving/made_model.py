"""A model that makes its answers up at once, as a gateway sees one, and a client of the gateway before it."""

import asyncio
import json
from contextlib import asynccontextmanager

import httpx

from eshop_ray.config import ServeSection
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.inference.requests import Answer, ApiAnswer
from eshop_ray.serving.budgets import Budgets
from eshop_ray.serving.calls import ApiCall, ModelFacts, PromptCall
from eshop_ray.serving.catalogue import CatalogueEndpoints
from eshop_ray.serving.endpoints import Endpoints
from eshop_ray.serving.facts import LatestFacts
from eshop_ray.serving.gateway import Gateway
from eshop_ray.serving.keys import KeyRing
from eshop_ray.serving.ledger import Ledger
from eshop_ray.serving.readiness import Readiness
from eshop_ray.serving.spending import MeteredModel

CONTEXT = 2048
PROMPT_TOKENS = 10
CHAT = {"model": "eshop", "messages": [{"role": "user", "content": "a very secret prompt"}]}


class MadeModel:
    """Writes `word` as many times as it may, each one token."""

    def __init__(self):
        self.calls = []
        self.num_generated = 0
        """Tokens, of answers that nobody waited for too."""
        self.pause = 0.0
        """Seconds for a token."""
        self.text = "word"
        self.pieces = ()
        """Of the text of a stream, in place of `text`."""
        self.trouble = None
        self.context = CONTEXT
        self.usual_tokens = None
        """Of an answer, where it is fewer than it may have."""

    async def describe(self):
        return ModelFacts(self.context)

    async def measure(self, _call):
        return PROMPT_TOKENS

    async def ask(self, call, _request_id):
        self.calls.append(call)
        if self.trouble:
            raise self.trouble
        if isinstance(call, PromptCall):
            self.num_generated += 1
            yield Answer(self.text, "stop", PROMPT_TOKENS, 1, 0.75)
            return
        limit = call.body.get("max_tokens") or CONTEXT - PROMPT_TOKENS
        length = len(self.pieces) or min(limit, self.usual_tokens or limit)
        if call.body.get("stream"):
            async for events in self._stream(call, length):
                yield events
        else:
            yield await self._answer(call, length)

    async def _generate(self):
        await asyncio.sleep(self.pause)
        self.num_generated += 1

    async def _answer(self, call: ApiCall, length):
        for _ in range(length * (call.body.get("n") or 1)):
            await self._generate()
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": length * (call.body.get("n") or 1)}
        message = {"role": "assistant", "content": " ".join([self.text] * length)}
        body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        return ApiAnswer(200, json.dumps(body), PROMPT_TOKENS, usage["completion_tokens"])

    async def _stream(self, call: ApiCall, length):
        assert call.body["stream_options"]["continuous_usage_stats"]
        for number in range(1, length + 1):
            await self._generate()
            usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": number}
            text = self.pieces[number - 1] if self.pieces else self.text
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            yield [write({"id": "1", "choices": [choice], "usage": usage})]
        yield [write({"id": "1", "choices": [], "usage": usage}), "data: [DONE]\n\n"]


def write(event):
    return f"data: {json.dumps(event)}\n\n"


def write_adapter(folder, **settings):
    """Write what tells an adapter's kind, without weights, and return its folder."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 16, "lora_alpha": 32, **settings})
    )
    (folder / "adapter_model.safetensors").touch()
    return folder


class MadeRecorder:
    """Keeps what a gateway measures: the sum of a counter, the last value of a gauge, all values of a histogram."""

    def __init__(self):
        self.found = {}

    def record(self, metric, value, labels):
        assert labels.keys() == set(metric.labels)
        key = (metric.name, *(labels[name] for name in metric.labels))
        if metric.kind == "histogram":
            self.found.setdefault(key, []).append(value)
        else:
            self.found[key] = value + (self.found.get(key, 0) if metric.kind == "counter" else 0)

    def read(self, metric):
        """Return labels -> value of one metric."""
        return {key[1:]: value for key, value in self.found.items() if key[0] == metric.name}


def build_gateway(model, folder, keys=None, catalogue=None, recorder=None, make_batches=None, **settings):
    """Return a gateway before the model; keys: lines of a key file; catalogue: None is that of a shop without one;
    make_batches: makes the endpoints of batches, which are not there otherwise.
    """
    ring = KeyRing()
    if keys is not None:
        path = folder / "keys"
        path.touch(0o600)
        path.write_text("\n".join(keys))
        ring = KeyRing(path)
    config = ServeSection(**settings)
    facts = LatestFacts(model)
    metered = MeteredModel(model, Budgets(Ledger(folder / "ledger"), config.request_seconds), facts)
    readiness = Readiness(model, facts)
    endpoints = Endpoints(config.model_id, PromptSettings(), metered, readiness, tuple(config.adapters))
    products = CatalogueEndpoints(catalogue, metered)
    files = make_batches(config, ring, metered) if make_batches else None
    return Gateway(config, ring, endpoints, readiness, products, recorder or MadeRecorder(), files), readiness, metered


@asynccontextmanager
async def client_of(model, folder, keys=None, key=None, client=("127.0.0.1", 4711), **settings):
    """A client of a gateway whose model is up."""
    gateway, readiness, metered = build_gateway(model, folder, keys, **settings)
    await readiness.wait()
    model.calls.clear()
    model.num_generated = 0
    transport = httpx.ASGITransport(gateway, client=client)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers) as http:
        http.gateway, http.metered = gateway, metered
        yield http
        await metered.finish()

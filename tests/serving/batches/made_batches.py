"""A keeper of batches before a model that is made up, with a clock that the test holds."""

import asyncio
import json
import time
from dataclasses import dataclass

from eshop_ray.config import ServeSection
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.serving.batches.answering import Answering
from eshop_ray.serving.batches.endpoints import BatchEndpoints
from eshop_ray.serving.batches.files import FileService
from eshop_ray.serving.batches.scheduler import Scheduler
from eshop_ray.serving.batches.service import BatchService
from eshop_ray.serving.batches.store import Store
from eshop_ray.serving.budgets import Budgets
from eshop_ray.serving.facts import LatestFacts
from eshop_ray.serving.keys import KeyRing
from eshop_ray.serving.ledger import Ledger
from eshop_ray.serving.spending import MeteredModel
from tests.serving.made_model import MadeRecorder

TASKS = PromptSettings()
CHAT_URL = "/v1/chat/completions"
NOON = 1_800_000_000 // 86_400 * 86_400 + 43_200.0


@dataclass
class Clock:
    now: float = NOON

    def __call__(self):
        return self.now


def request(custom_id, url=CHAT_URL, **body):
    usual = {"model": "eshop", "messages": [{"role": "user", "content": f"question {custom_id}"}], "max_tokens": 2}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {**usual, **body}}


def write(lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


class Keeper:
    """All that sees to batches, in this process; made anew on the same folder, it is the next one."""

    def __init__(self, folder, config, ring, metered, clock=time.time):
        self.store = Store(folder / "serve-batches")
        self.store.open()
        self.files = FileService(self.store, config.batches, clock)
        self.batches = BatchService(self.files, config.model_id, clock)
        self.runs, self.recorder = [], MadeRecorder()
        self.scheduler = Scheduler(self.store, self.files, config, self.start, self.recorder, clock)
        self._ring, self._metered = ring, metered
        self.endpoints = BatchEndpoints(
            self.files, self.batches, metered, config.batches.max_file_bytes, config.max_body_bytes
        )

    def start(self, work):
        self.runs.append(Answering(work, TASKS, self._metered, self._ring))
        return self.runs[-1]

    async def upload(self, lines, owner=None, **options):
        """Return the id of a file with these lines."""
        name = await self.files.begin(owner)
        await self.files.append(name, lines if isinstance(lines, bytes) else write(lines))
        return (await self.files.finish(name, "in.jsonl", "batch", options.get("lifetime")))["id"]

    async def create(self, lines, owner=None, **body):
        """Return a batch of these lines."""
        wanted = {"endpoint": CHAT_URL, "completion_window": "24h", **body}
        return await self.batches.create(owner, {"input_file_id": await self.upload(lines, owner), **wanted})

    async def see_to(self, batch, is_so, owner=None, seconds=20):
        """Do what is due until a batch is as wanted, a status or what a function says; return it."""
        check = is_so if callable(is_so) else lambda found: found["status"] == is_so
        async with asyncio.timeout(seconds):
            while True:
                await self.scheduler.tick()
                found = await self.batches.find(owner, batch["id"])
                if check(found):
                    return found
                await asyncio.sleep(0.002)

    async def read(self, file_id, owner=None):
        """Return the lines of a file by `custom_id`; none where there is no file."""
        if file_id is None:
            return {}
        content = await self.files.read(owner, file_id, 0, 1 << 30)
        lines = [json.loads(line) for line in content.decode().splitlines()]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        return {line["custom_id"]: line for line in lines}


def build_keeper(model, folder, clock=time.time, key_lines=None, budget_clock=time.time, **settings):
    """Return a keeper; key_lines: of a key file."""
    config = ServeSection(**settings)
    ring = KeyRing()
    if key_lines is not None:
        path = folder / "keys"
        path.touch(0o600)
        path.write_text("\n".join(key_lines))
        ring = KeyRing(path)
    budgets = Budgets(Ledger(folder / "ledger"), config.request_seconds, budget_clock)
    metered = MeteredModel(model, budgets, LatestFacts(model))
    return Keeper(folder, config, ring, metered, clock)

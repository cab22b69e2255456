"""Results of a batch as they grow: answers and errors apart, a line each, in OpenAI's form."""

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from eshop_ray.append_log import AppendLog
from eshop_ray.inference.openai_batch.requests import digest_custom_id
from eshop_ray.inference.openai_batch.results import FIRST_ERROR, describe_result
from eshop_ray.serving.batches.states import Counts
from eshop_ray.serving.batches.store import ERRORS, OUTPUT

EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


class Results:
    """The results of one batch; one process at a time adds to them."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / OUTPUT, folder / ERRORS]
        self._logs: list[AppendLog] = []
        self._stack = ExitStack()
        self._counts: Counter[str] = Counter()
        self.done: set[bytes] = set()
        """Digests of the `custom_id`s that have one, as far as `read` found them."""

    def __enter__(self) -> Self:
        """Keep other processes out.

        Raises:
            UserError: if another one is at work.
            OSError: if they cannot be written.
        """
        with self._stack as stack:
            self._logs = [stack.enter_context(AppendLog(path)) for path in self._paths]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self) -> None:
        """Find out what is there: 16 bytes for a result.

        Raises:
            UserError: naming a line that is none.
        """
        for kind, log in zip(("completed", "failed"), self._logs, strict=True):
            for digest, usage in log.read(_read_result):
                self.done.add(digest)
                self._add(kind, usage)

    def count(self, total: int) -> Counts:
        """Return how far the batch is, of so many requests."""
        return Counts(total=total, **self._counts)

    def append(self, results: list[dict[str, Any]]) -> None:
        """Add results; they are on disk when this returns.

        Raises:
            OSError: if they cannot be written.
        """
        for kind, log in zip(("completed", "failed"), self._logs, strict=True):
            chosen = [one for one in results if _name_kind(one) == kind]
            if chosen:
                log.append([json.dumps(one) for one in chosen])  # in ASCII: some readers end lines at U+2028 too
            for one in chosen:
                self._add(kind, _read_usage(one))

    def _add(self, kind: str, usage: tuple[int, int]) -> None:
        self._counts.update({kind: 1, "input_tokens": usage[0], "output_tokens": usage[1]})


def write_answer(custom_id: str, status: int, body: str) -> dict[str, Any]:
    """Return the result of a request that was answered, or refused.

    Args:
        custom_id: Of the request.
        status: Of HTTP.
        body: JSON.
    """
    return describe_result(custom_id, status, json.loads(body))


def write_expired(custom_id: str) -> dict[str, Any]:
    """Return the result of a request that was not asked in time."""
    return {"id": f"batch_req_{uuid4().hex}", "custom_id": custom_id, "response": None, "error": EXPIRED}


def _name_kind(result: dict[str, Any]) -> str:
    response = result["response"]
    return "failed" if response is None or response["status_code"] >= FIRST_ERROR else "completed"


def _read_result(line: dict[str, Any]) -> tuple[bytes, tuple[int, int]]:
    return digest_custom_id(line["custom_id"]), _read_usage(line)


def _read_usage(result: dict[str, Any]) -> tuple[int, int]:
    usage = ((result["response"] or {}).get("body") or {}).get("usage") or {}
    return usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0

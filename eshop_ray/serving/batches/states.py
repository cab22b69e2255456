"""What is known of a file and of a batch, how a batch goes from state to state, and how OpenAI writes them down."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]

NEXT: Mapping[Status, tuple[Status, ...]] = {
    "validating": ("in_progress", "failed", "cancelling", "expired"),
    "in_progress": ("finalizing", "failed", "cancelling", "expired"),
    "finalizing": ("completed",),
    "cancelling": ("cancelled",),
    "failed": (),
    "completed": (),
    "expired": (),
    "cancelled": (),
}
"""State -> those that may follow."""
TIMED: tuple[Status, ...] = tuple(status for status in NEXT if status != "validating")
"""States whose beginning clients see as `..._at`."""

INPUT_PURPOSE: Literal["batch"] = "batch"
OUTPUT_PURPOSE: Literal["batch_output"] = "batch_output"

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WINDOW = re.compile(r"([1-9]\d{0,6})([smhd])")


class Record(BaseModel):
    """What stands in a file of its own, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredFile(Record):
    """A file that a key has uploaded, or that a batch of its has made."""

    id: str
    owner: str | None
    """Id of the key; None on an endpoint without keys."""
    filename: str
    purpose: Literal["batch", "batch_output"]
    num_bytes: int
    created: float
    expires: float
    """After which it is removed."""

    def describe(self) -> dict[str, Any]:
        """Return OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.num_bytes,
            "created_at": int(self.created),
            "expires_at": int(self.expires),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class LineError(Record):
    """Why a batch cannot begin. It quotes nothing."""

    code: str
    message: str
    line: int | None = None
    """In the input file, from 1."""
    param: str | None = None


class Counts(Record):
    """How far a batch is."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Batch(Record):
    """A batch at one moment."""

    id: str
    owner: str | None
    """Id of the key; None on an endpoint without keys."""
    endpoint: str
    """Address of all of its requests."""
    model: str
    """What the model was called that was served when it was created."""
    input_file_id: str
    completion_window: str
    created: float
    expires: float
    """After which nothing of it is asked any more."""
    metadata: dict[str, str] | None = None
    output_lifetime: float | None = None
    """Seconds that its results are kept; None: as long as files are."""
    status: Status = "validating"
    began: dict[Status, float] = {}
    """State -> when it began."""
    errors: tuple[LineError, ...] = ()
    counts: Counts = Counts()
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything is left to do."""
        return bool(NEXT[self.status])

    def move(self, status: Status, now: float, **changes: Any) -> "Batch":
        """Return it in its next state.

        Args:
            status: The state.
            now: When it begins.
            changes: Of other fields.

        Raises:
            ValueError: if that state cannot follow.
        """
        if status not in NEXT[self.status]:
            raise ValueError(f"a batch that is {self.status} cannot be {status}")
        return self.model_copy(update={"status": status, "began": {**self.began, status: now}, **changes})

    def describe(self) -> dict[str, Any]:
        """Return OpenAI's batch object."""
        counts = self.counts
        times = {f"{status}_at": _whole(self.began.get(status)) for status in TIMED}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": _describe_errors(self.errors),
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": int(self.created),
            "expires_at": int(self.expires),
            **times,
            "request_counts": {"total": counts.total, "completed": counts.completed, "failed": counts.failed},
            "usage": {
                "input_tokens": counts.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": counts.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": counts.input_tokens + counts.output_tokens,
            },
            "metadata": self.metadata,
        }


def parse_window(text: Any) -> float | None:
    """Return the seconds of a `completion_window`, such as `24h`; None if it is none."""
    found = _WINDOW.fullmatch(text) if isinstance(text, str) else None
    return float(found[1]) * SECONDS[found[2]] if found else None


def _describe_errors(errors: Sequence[LineError]) -> dict[str, Any] | None:
    return {"object": "list", "data": [error.model_dump() for error in errors]} if errors else None


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)

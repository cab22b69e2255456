"""A KDD Cup submission in a process of its own: what it does to its process is not done to this one."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from eshop_ray.artifacts import fingerprint
from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench import submission_process
from eshop_ray.evaluation.shopbench.batches import ModelError
from eshop_ray.inference.engines.actor import ENGINE_START_SECONDS
from eshop_ray.reporting.words import format_seconds

MAX_MESSAGE_CHARACTERS = 300
END_SECONDS = 5.0
"""A submission that is told to end has so long to do so."""


def find_submission(folder: str) -> Path:
    """Return a submission's folder.

    Raises:
        UserError: if it is none.
    """
    path = Path(folder).expanduser().absolute()
    if not any((path / name).is_file() for name in ("models/user_config.py", "user_config.py")):
        raise UserError(f"`shopbench.submission` {folder}: no models/user_config.py and no user_config.py in it")
    return path


def digest_submission(folder: Path) -> str:
    """Return a digest of name, size and time of each file: a submission may hold 200 GB of weights."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    states = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return fingerprint(["submission", states])


class SubmissionModel:
    """Speaks with the process; a context manager, which ends it."""

    def __init__(self, folder: Path, python: str | None, log_path: Path, timeout_seconds: float) -> None:
        """Start the process.

        Args:
            folder: The submission.
            python: Interpreter; None: this one.
            log_path: File that takes what it prints.
            timeout_seconds: Longest wait for one answer.
        """
        self._timeout_seconds = timeout_seconds
        self._log_path = log_path
        self._buffer = b""
        their_read, our_write = os.pipe()
        self._read_fd, their_write = os.pipe()
        command = [python or sys.executable, str(submission_process.__file__), str(folder)]
        try:
            with log_path.open("wb") as log:
                self._process = subprocess.Popen(
                    [*command, str(their_read), str(their_write)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(their_read, their_write),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(our_write)
            os.close(self._read_fd)
            raise UserError(f"`shopbench.submission_python` {python}: {error.strerror}") from error
        finally:
            os.close(their_read)
            os.close(their_write)
        self._calls: IO[str] = os.fdopen(our_write, "w")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(0.0 if error else END_SECONDS)

    def wait_until_up(self) -> None:
        """Return when `UserModel` is there.

        Raises:
            UserError: if it cannot be made.
        """
        try:
            self._receive(ENGINE_START_SECONDS)
        except ModelError as error:
            raise UserError(f"the submission does not start: {error}") from None

    def get_batch_size(self) -> int:
        """Return what the submission says."""
        size: int = self._call("get_batch_size")
        return size

    def batch_predict(self, batch: Mapping[str, Any], is_multiple_choice: bool) -> list[str]:
        """Return what the submission says."""
        texts: list[str] = self._call("batch_predict", batch, is_multiple_choice)
        return texts

    def close(self, seconds: float = END_SECONDS) -> None:
        """End the process, and those that it has started.

        Args:
            seconds: That it has to end by itself.
        """
        with suppress(BrokenPipeError):
            self._calls.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read_fd)

    def _call(self, method: str, *arguments: Any) -> Any:
        with suppress(BrokenPipeError):  # what it said last, or how it ended, is read next
            self._calls.write(json.dumps({"method": method, "arguments": arguments}) + "\n")
            self._calls.flush()
        return self._receive(self._timeout_seconds)

    def _receive(self, timeout_seconds: float) -> Any:
        reply = json.loads(self._read_line(timeout_seconds))
        if "error" in reply:
            raise ModelError(f"{self._shorten(reply['error'])}; see {self._log_path}")
        return reply["value"]

    def _read_line(self, timeout_seconds: float) -> bytes:
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._read_fd], [], [], timeout_seconds)
            if not ready:
                raise ModelError(f"no answer within {format_seconds(timeout_seconds)}; see {self._log_path}")
            data = os.read(self._read_fd, 1 << 16)
            if not data:
                status = self._process.wait()
                raise ModelError(f"the submission's process ended with status {status}; see {self._log_path}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    @staticmethod
    def _shorten(text: str) -> str:
        return " ".join(text.split())[:MAX_MESSAGE_CHARACTERS]

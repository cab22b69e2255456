"""What stands in the output and the error file, which a rerun goes on from, and the manifest beside them."""

import fcntl
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from operator import index
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eshop_ray.artifacts import read_checksummed, write_checksummed
from eshop_ray.errors import UserError
from eshop_ray.inference.openai_batch.requests import digest_custom_id
from eshop_ray.inference.openai_batch.source import Keys

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Settled:
    """What is not asked again."""

    answered: Keys
    """Digest of the `custom_id` of each line in the output."""
    failed: NDArray[np.int64]
    """Line in the input of each line in the error file."""


class Ledger:
    """The output and the error file, held by one run at a time. Lines are only ever added.

    A line counts once its end is written. What a killed run left of one is cut off.
    """

    def __init__(self, output: Path, errors: Path) -> None:
        self.output, self.errors = output, errors
        self.manifest = output.with_name(f"{output.name}.manifest.json")
        self._files: list[FileIO] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Ledger":
        """Open the files, and keep other runs out until the end, however that comes.

        Raises:
            UserError: if they cannot be written, or another run is at work.
        """
        if self.output == self.errors:
            raise UserError(f"{self.output}: output and error file are the same; name another one with --errors")
        with self._stack as stack, _explain(self.output):
            for path in (self.output, self.errors):
                _check_local(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._files.append(stack.enter_context(path.open("ab", buffering=0)))
                _lock(path, self._files[-1])
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def begin(self, identity: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        """Note what is answered with what, or see that it is what an earlier run began with.

        Args:
            identity: What all answers of the output depend on.
            details: For the reader.

        Raises:
            UserError: naming what has changed since, or if the files are somebody else's.
        """
        files = f"{self.output}, {self.errors} and {self.manifest.name}"
        if self.output.stat().st_size or self.errors.stat().st_size:
            try:
                begun = read_checksummed(self.manifest)
            except (OSError, ValueError):
                raise UserError(
                    f"{self.output} or {self.errors} is not empty, and has no {self.manifest.name} of an earlier run "
                    "to go on from; name another output"
                ) from None
            changed = [name for name in identity if begun.get(name) != identity[name]]
            if changed:
                raise UserError(
                    f"{self.output} was begun with another {' and another '.join(changed)}; name another output, or "
                    f"delete {files} to begin anew"
                )
        with _explain(self.manifest):
            write_checksummed(self.manifest, {**identity, **details, "is_complete": False})

    def finish(self, counts: Mapping[str, int]) -> None:
        """Note that nothing is missing, and how many lines there are of each kind."""
        with _explain(self.manifest):
            write_checksummed(
                self.manifest, {**read_checksummed(self.manifest), "counts": dict(counts), "is_complete": True}
            )

    def read(self) -> Settled:
        """Return what is settled: 16 bytes for an answer, 8 for a failure.

        Raises:
            UserError: naming a line that no run has written.
        """
        answered = b"".join(self._read_lines(self.output, lambda line: digest_custom_id(line["custom_id"])))
        failed = array("q", self._read_lines(self.errors, lambda line: index(line["error"]["line"])))
        return Settled(np.frombuffer(answered, "S16"), np.frombuffer(failed, np.int64))

    def append(self, results: pa.Table) -> Counter[str]:
        """Add a block of results and return how many of them are failures, under `num_failed`, and `num_answered`."""
        texts: tuple[list[str], list[str]] = ([], [])
        for is_error, text in zip(*(results[name].to_pylist() for name in ("is_error", "text")), strict=True):
            texts[is_error].append(text)
        for path, file, lines in zip((self.output, self.errors), self._files, texts, strict=True):
            with _explain(path):
                _write(file, "".join(f"{line}\n" for line in lines).encode())
        return Counter(num_answered=len(texts[0]), num_failed=len(texts[1]))

    def _read_lines(self, path: Path, read: Callable[[Any], Value]) -> Iterator[Value]:
        """Yield what is read of each whole line; the rest is cut off."""
        end = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                try:
                    yield read(json.loads(line))
                except (ValueError, TypeError, LookupError, AttributeError):
                    raise UserError(
                        f"{path}:{number}: is no line that this job writes; remove it, or name another output"
                    ) from None
        with path.open("r+b") as file:
            file.truncate(end)


def _check_local(path: Path) -> None:
    scheme, separator, _ = str(path).partition(":/")
    if separator and scheme.isalnum():
        raise UserError(f"{path}: results are added line by line, which needs a local path; copy the file afterwards")


def _write(file: FileIO, data: bytes) -> None:
    """Write all of it now: what waits in a buffer would be written, and fail, once more when the file is closed."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _lock(path: Path, file: FileIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{path}: another run is writing it; wait for its end, or name another output") from None


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be written: {error.strerror}") from error

"""What stands in the output and the error file, which a rerun goes on from, and the manifest beside them."""

import logging
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eshop_ray.append_log import AppendLog
from eshop_ray.artifacts import read_checksummed, write_checksummed
from eshop_ray.errors import UserError
from eshop_ray.inference.openai_batch.requests import digest_custom_id
from eshop_ray.inference.openai_batch.source import Keys

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FinishedLines:
    """What is not asked again."""

    answered: Keys
    """Digest of the `custom_id` of each line in the output."""
    failed: NDArray[np.int64]
    """Line in the input of each line in the error file."""


ERRORS = "errors"
"""In the manifest: the name of the error file."""


FAILURES = "failures"
"""In the manifest: the digest of what failures depend on."""


def name_errors(output: Path) -> Path:
    """Return where the failures of an output go if nobody says: no two outputs of a folder share them."""
    return output.with_name(f"{output.name}.errors.jsonl")


class BatchFiles:
    """The output and the error file, held by one run at a time; lines are only ever added."""

    def __init__(self, output: Path, errors: Path) -> None:
        self.output, self.errors = output, errors
        self.manifest = output.with_name(f"{output.name}.manifest.json")
        self._logs: list[AppendLog] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open the files, and keep other runs out until the end, however that comes.

        Raises:
            UserError: if they cannot be written, or another run is at work.
        """
        if self.output == self.errors:
            raise UserError(f"{self.output}: output and error file are the same; name another one with --errors")
        with self._stack as stack:
            for path in (self.output, self.errors):
                _check_local(path)
                with _explain(path):
                    self._logs.append(stack.enter_context(AppendLog(path)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def begin(
        self, identity: Mapping[str, Any], details: Mapping[str, Any], failures: str = "", retry_failed: bool = False
    ) -> None:
        """Note what is answered with what, or see that it is what an earlier run began with.

        Args:
            identity: What all answers of the output depend on.
            details: For the reader.
            failures: Digest of what failures depend on beside that. Where it has changed, they are asked again: the
                error file begins anew.
            retry_failed: Whether that happens in any case.

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
            errors = begun.get(ERRORS, self.errors.name)
            if errors != self.errors.name:
                raise UserError(
                    f"{self.output} was begun with --errors {errors}; name the same file, or another output"
                )
            changed = [name for name in identity if begun.get(name) != identity[name]]
            if changed:
                raise UserError(
                    f"{self.output} was begun with another {' and another '.join(changed)}; name another output, or "
                    f"delete {files} to begin anew"
                )
            if self.errors.stat().st_size and (retry_failed or begun.get(FAILURES, failures) != failures):
                logger.info("%s: what failed before is asked again", self.errors)
                with _explain(self.errors):
                    self._logs[1].clear()
        own = {FAILURES: failures, ERRORS: self.errors.name, "is_complete": False}
        with _explain(self.manifest):
            write_checksummed(self.manifest, {**identity, **details, **own})

    def finish(self, counts: Mapping[str, int]) -> None:
        """Note that nothing is missing, and how many lines there are of each kind."""
        with _explain(self.manifest):
            write_checksummed(
                self.manifest, {**read_checksummed(self.manifest), "counts": dict(counts), "is_complete": True}
            )

    def remove(self) -> None:
        """Delete the files, which have gone to where they are wanted."""
        for path in (self.output, self.errors, self.manifest):
            path.unlink(missing_ok=True)

    def read(self) -> FinishedLines:
        """Return what is finished: 16 bytes for an answer, 8 for a failure.

        Raises:
            UserError: naming a line that no run has written.
        """
        output, errors = self._logs
        answered = b"".join(output.read(lambda line: digest_custom_id(line["custom_id"])))
        failed = array("q", errors.read(lambda line: index(line["line"])))
        return FinishedLines(np.frombuffer(answered, "S16"), np.frombuffer(failed, np.int64))

    def count_codes(self) -> Counter[str]:
        """Return how often each code comes in the error file."""
        return Counter(self._logs[1].read(lambda line: str(line["response"]["body"]["error"]["code"])))

    def append(self, results: pa.Table) -> Counter[str]:
        """Add a block of results and return how many of them are failures, under `num_failed`, and `num_answered`."""
        texts: tuple[list[str], list[str]] = ([], [])
        for is_error, text in zip(*(results[name].to_pylist() for name in ("is_error", "text")), strict=True):
            texts[is_error].append(text)
        for log, lines in zip(self._logs, texts, strict=True):
            with _explain(log.path):
                log.append(lines)
        return Counter(num_answered=len(texts[0]), num_failed=len(texts[1]))


def _check_local(path: Path) -> None:
    scheme, separator, _ = str(path).partition(":/")
    if separator and scheme.isalnum():
        raise UserError(f"{path}: results are added line by line, which needs a local path; copy the file afterwards")


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be written: {error.strerror}") from error

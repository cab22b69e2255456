"""Files and batches on disk: what is written here is there whole after any end of the process, or not at all.

A record stands in memory as it stands in its file; content that has no record yet is an upload under way.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from eshop_ray.errors import UserError
from eshop_ray.places import PRIVATE_DIR
from eshop_ray.serving.batches.states import Batch, Record, StoredFile

logger = logging.getLogger(__name__)

LOCK, RECORD, CONTENT = ".lock", "record.json", "content"
OUTPUT, ERRORS = "output.jsonl", "errors.jsonl"
PRIVATE_FILE = 0o600

Kind = TypeVar("Kind", bound=Record)


class Store:
    """One process at a time has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: IO[str] | None = None
        self.files: dict[str, StoredFile] = {}
        self.batches: dict[str, Batch] = {}

    def open(self) -> None:
        """Keep others out, and read what is there.

        Raises:
            UserError: if another process has it, or the folder cannot be written.
        """
        try:
            for folder in (self._folder, self._folder / "files", self._folder / "batches"):
                folder.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
            lock = (self._folder / LOCK).open("w")
        except OSError as error:
            raise UserError(
                f"{self._folder}: {error.strerror}; set `serve.batches.dir` to a folder you may write"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise UserError(f"{self._folder}: another endpoint keeps its batches there") from None
        self._lock = lock
        self.files = {file.id: file for file in self._read("files", StoredFile)}
        self.batches = {batch.id: batch for batch in self._read("batches", Batch)}
        for batch in self.batches.values():
            if not batch.is_open:
                self.remove_results(batch.id)

    def close(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def find_content(self, file_id: str) -> Path:
        """Return where the content of a file is."""
        return self._folder / "files" / file_id / CONTENT

    def find_workspace(self, batch_id: str) -> Path:
        """Return the folder where the results of a batch grow."""
        return self._folder / "batches" / batch_id

    def begin_upload(self) -> str:
        """Make room for a file, and return its id."""
        name = f"file-{uuid4().hex}"
        content = self.find_content(name)
        content.parent.mkdir(mode=PRIVATE_DIR)
        content.touch(PRIVATE_FILE)
        return name

    def adopt(self, file_id: str, source: Path) -> int:
        """Make what a batch has written the content of a file without a copy, and return its bytes."""
        content = self.find_content(file_id)
        content.parent.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        content.unlink(missing_ok=True)
        try:
            os.link(source, content)
        except OSError:  # not every file system knows a second name
            shutil.copyfile(source, content)
        return content.stat().st_size

    def put_file(self, file: StoredFile) -> None:
        """Write down what is known of a file whose content is there."""
        with self.find_content(file.id).open("rb") as content:
            os.fsync(content.fileno())
        write_whole(self.find_content(file.id).with_name(RECORD), file.model_dump_json())
        self.files[file.id] = file

    def put_batch(self, batch: Batch) -> None:
        """Write down how a batch stands."""
        folder = self.find_workspace(batch.id)
        folder.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        write_whole(folder / RECORD, batch.model_dump_json())
        self.batches[batch.id] = batch

    def remove_file(self, file_id: str) -> None:
        """Remove a file or an upload: its record first, for without one it is none."""
        self.files.pop(file_id, None)
        folder = self.find_content(file_id).parent
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def remove_batch(self, batch_id: str) -> None:
        """Remove a batch that is over."""
        self.batches.pop(batch_id, None)
        shutil.rmtree(self.find_workspace(batch_id), ignore_errors=True)

    def remove_results(self, batch_id: str) -> None:
        """Remove what a batch was working on."""
        for name in (OUTPUT, ERRORS):
            (self.find_workspace(batch_id) / name).unlink(missing_ok=True)

    def _read(self, kind: str, record: type[Kind]) -> Iterator[Kind]:
        for folder in sorted((self._folder / kind).iterdir()):
            path = folder / RECORD
            if not path.is_file():  # nobody goes on with an upload, or with a batch whose client was never told
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                yield record.model_validate_json(path.read_bytes())
            except (OSError, ValidationError) as error:
                logger.error("%s: passed over: %s", path, type(error).__name__)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that after any end of the machine it has the old text or the new one."""
    staged = path.with_name(f".{path.name}.partial")
    with open(staged, "w", opener=lambda name, flags: os.open(name, flags, PRIVATE_FILE)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

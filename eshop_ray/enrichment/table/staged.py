"""Which files a run stages in a table's folder: each is noted before it is written, until a commit takes it.

The next run deletes exactly those that are noted and that no commit took. Nothing else in the folder is ever touched.
"""

from collections.abc import Iterable

from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.storage import Storage

RUN_FOLDER = "_eshop_ray"
"""In a table's folder: what runs note there."""
_FOLDER = f"{RUN_FOLDER}/staged"
_SLASH = "~"
"""In a note's name, which is one of a file; no data file's path has it."""


def note_staged(storage: Storage, run_id: str, path: str) -> None:
    """Note a file that is about to be written.

    Raises:
        StorageError: if the storage refuses.
    """
    storage.write(_note(run_id, path), b"")


def forget_staged(storage: Storage, run_id: str, files: Iterable[DataFile]) -> None:
    """Take back the notes of files that a commit took."""
    for file in files:
        storage.delete(_note(run_id, file.path))


def delete_staged(storage: Storage, live: Iterable[DataFile], run_id: str | None = None) -> int:
    """Delete what runs staged and no commit took, and return how many files that were.

    Args:
        storage: The table's folder.
        live: Files of its newest version.
        run_id: Whose; None: of all runs.
    """
    taken = {file.path for file in live}
    num_deleted = 0
    for note in list(storage.list(f"{_FOLDER}/{run_id}" if run_id else _FOLDER)):
        path = note.path.rpartition("/")[2].replace(_SLASH, "/")
        if path not in taken:
            storage.delete(path)
            storage.delete_partial(path)
            num_deleted += 1
        storage.delete(note.path)
    return num_deleted


def _note(run_id: str, path: str) -> str:
    return f"{_FOLDER}/{run_id}/{path.replace('/', _SLASH)}"

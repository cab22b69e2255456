"""What is left to do for a batch that is answered, cancelled or late: its results become files."""

from collections.abc import Mapping
from typing import Any

from eshop_ray.serving.batches.lines import Rules, list_rest
from eshop_ray.serving.batches.results import Results, write_expired
from eshop_ray.serving.batches.states import OUTPUT_PURPOSE, Batch, Status, StoredFile
from eshop_ray.serving.batches.store import ERRORS, OUTPUT, Store

LAST: Mapping[Status, Status] = {"finalizing": "completed", "cancelling": "cancelled"}
"""State -> the one that it ends in; any other has expired."""
BLOCK_LINES = 1000


def finish_batch(store: Store, batch: Batch, rules: Rules, now: float, keep_seconds: float) -> Batch:
    """Return a batch that is over, its results in files. Done again after it was broken off, it does the same.

    Args:
        store: Where everything is.
        batch: Nothing of it is being asked any more.
        rules: Of its lines.
        now: The time.
        keep_seconds: How long the files are kept at most.

    Raises:
        UserError, OSError: if that cannot be done now.
    """
    last = LAST.get(batch.status, "expired")
    folder = store.find_workspace(batch.id)
    with Results(folder) as results:
        results.read()
        total = batch.counts.total
        if last == "expired":
            total = max(total, _add_rest(store, batch, rules, results))
        counts = results.count(total)
    made: dict[str, Any] = {}
    expires = now + min(batch.output_lifetime or keep_seconds, keep_seconds)
    for field, name in (("output_file_id", OUTPUT), ("error_file_id", ERRORS)):
        source = folder / name
        if source.stat().st_size:
            file_id = f"file-{batch.id.removeprefix('batch_')}-{name.partition('.')[0]}"
            file = StoredFile(
                id=file_id,
                owner=batch.owner,
                filename=f"{batch.id}_{name}",
                purpose=OUTPUT_PURPOSE,
                num_bytes=store.adopt(file_id, source),
                created=now,
                expires=expires,
            )
            store.put_file(file)
            made[field] = file_id
    return batch.move(last, now, counts=counts, **made)


def _add_rest(store: Store, batch: Batch, rules: Rules, results: Results) -> int:
    """Add to the errors what was not asked in time, and return the requests of the batch."""
    source = store.find_content(batch.input_file_id)
    if not source.exists():  # nobody can say any more what it was
        return len(results.done)
    rest: list[dict[str, Any]] = []
    num_rest = 0
    for custom_id in list_rest(source, rules, results.done):
        num_rest += 1
        rest.append(write_expired(custom_id))
        if len(rest) == BLOCK_LINES:
            results.append(rest)
            rest = []
    results.append(rest)
    return len(results.done) + num_rest

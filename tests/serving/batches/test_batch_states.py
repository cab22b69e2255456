"""How a batch goes from state to state, and what OpenAI's client makes of it."""

import pytest
from openai.types import Batch as ClientBatch
from openai.types import FileObject

from eshop_ray.serving.batches.states import NEXT, Batch, Counts, LineError, StoredFile, parse_window


def made(**fields):
    usual = {"id": "batch_1", "owner": "a", "endpoint": "/v1/completions", "model": "eshop", "input_file_id": "file-1"}
    return Batch(**{**usual, "completion_window": "24h", "created": 100.5, "expires": 200.0, **fields})


@pytest.mark.parametrize("first", NEXT)
@pytest.mark.parametrize("second", NEXT)
def test_only_what_may_follow_follows(first, second):
    batch = made(status=first)
    if second in NEXT[first]:
        moved = batch.move(second, 150.0)
        assert (moved.status, moved.began[second]) == (second, 150.0)
        assert moved.describe()[f"{second}_at"] == 150
    else:
        with pytest.raises(ValueError, match=f"{first} cannot be {second}"):
            batch.move(second, 150.0)


def test_a_batch_that_is_over_stays_so():
    over = {status for status in NEXT if not made(status=status).is_open}
    assert over == {"failed", "completed", "expired", "cancelled"}


def test_openais_client_reads_all_of_a_batch():
    counts = Counts(total=5, completed=2, failed=1, input_tokens=10, output_tokens=4)
    errors = (LineError(code="invalid_url", message="no", line=3, param="url"),)
    described = made(counts=counts, errors=errors, metadata={"a": "b"}).move("failed", 160.0).describe()
    batch = ClientBatch.model_validate(described, strict=True)
    assert described.keys() == ClientBatch.model_fields.keys()
    assert (batch.created_at, batch.failed_at, batch.in_progress_at) == (100, 160, None)
    assert (batch.request_counts.total, batch.usage.total_tokens) == (5, 14)
    assert batch.errors.data[0].line == 3
    assert batch.metadata == {"a": "b"}


def test_openais_client_reads_all_of_a_file():
    file = StoredFile(
        id="file-1", owner=None, filename="in.jsonl", purpose="batch", num_bytes=3, created=1.5, expires=2.5
    )
    assert file.describe().keys() == FileObject.model_fields.keys()
    assert FileObject.model_validate(file.describe(), strict=True).expires_at == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86_400),
        ("30s", 30),
        ("15m", 900),
        ("7d", 604_800),
        ("0h", None),
        ("24", None),
        ("-1h", None),
        (24, None),
    ],
)
def test_completion_windows(text, seconds):
    assert parse_window(text) == seconds

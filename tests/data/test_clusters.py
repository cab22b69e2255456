"""What the rows of a split belong to."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.data.splits import read_clusters
from eshop_ray.errors import UserError
from eshop_ray.schema import RECORD_SCHEMA, encode


@pytest.fixture
def records_dir(tmp_path):
    folder = tmp_path / "task=ranking" / "split=dev"
    folder.mkdir(parents=True)
    rows = [
        {"id": f"r{number}", "task": "ranking", "target": encode([1.0]), "fields": encode({"query": f"q{number // 2}"})}
        for number in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), folder / "part-0.parquet")
    return tmp_path


def test_rows_are_named_by_a_field(records_dir):
    clusters = read_clusters(records_dir, "dev", {"ranking": "query"})
    assert clusters == {("ranking", f"r{number}"): f"q{number // 2}" for number in range(4)}
    assert read_clusters(records_dir, "dev", {}) == {}


def test_a_field_or_task_that_is_not_there(records_dir):
    with pytest.raises(UserError, match=r"`evaluate\.clusters\.ranking`: record r0 has no field `product`; .* `query`"):
        read_clusters(records_dir, "dev", {"ranking": "product"})
    with pytest.raises(UserError, match=r"`evaluate\.clusters\.ner`: no records of split `dev` are of this task"):
        read_clusters(records_dir, "dev", {"ner": "query"})

"""Which rows were answered: all that were asked, once, and the same by two models."""

import resource

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.errors import UserError
from eshop_ray.evaluation.same_rows import check_complete, check_same_rows
from eshop_ray.schema import PREDICTION_SCHEMA

ASKED = [("quiz", "a"), ("quiz", "b")]


def write(folder, *ids, **values):
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": row_id, "task": "quiz", "group": "g", "metric": "accuracy", "target": "1", **values} for row_id in ids
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), folder / "part-0.parquet")
    return folder


def test_a_part_of_the_answers_is_no_score(tmp_path):
    write(tmp_path, "a", "b")
    check_complete(tmp_path, ASKED)
    with pytest.raises(UserError, match=r"lacks 2 of 4 rows, such as quiz/c, quiz/d; remove the folder and run"):
        check_complete(tmp_path, [*ASKED, ("quiz", "d"), ("quiz", "c")])
    with pytest.raises(UserError, match="has, and should not have, 1 of 1 rows, such as quiz/b"):
        check_complete(tmp_path, ASKED[:1])
    with pytest.raises(UserError, match="lacks 1 of 2 rows, such as other/a; has, and should not have, 1 of 2 rows"):
        check_complete(tmp_path, [("other", "a"), ASKED[1]])
    write(tmp_path, "a", "a", "b")
    with pytest.raises(UserError, match="has more than once 1 of 2 rows, such as quiz/a"):
        check_complete(tmp_path, ASKED)


def test_no_answers_at_all_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="holds no predictions; run `eshop batch-infer`"):
        check_complete(tmp_path, ASKED)
    write(tmp_path)
    with pytest.raises(UserError, match="lacks 2 of 2 rows"):
        check_complete(tmp_path, ASKED)


@pytest.mark.parametrize(
    ("ids", "values", "told"),
    [
        ("abcd", {}, "group `g`: 1 row missing in the first, such as quiz/d"),
        ("ab", {}, "group `g`: 1 row missing in the second, such as quiz/c"),
        ("aabc", {}, "group `g`: 1 row answered more than once, such as quiz/a"),
        ("abc", {"target": "2"}, "group `g`: 3 rows held against other targets, such as quiz/a, quiz/b, quiz/c"),
        ("abc", {"metric": "ndcg"}, "group `g`: 3 rows scored by other metrics"),
        ("abc", {"group": "h"}, "group `g`: 3 rows missing in the second.*; group `h`: 3 rows missing in the first"),
    ],
)
def test_two_models_answer_the_same_rows(tmp_path, ids, values, told):
    first, second = write(tmp_path / "first", *"abc"), write(tmp_path / "second", *"cba")
    check_same_rows(first, second)
    with pytest.raises(UserError, match=told):
        check_same_rows(first, write(second, *ids, **values))


@pytest.mark.slow
def test_a_million_ids_are_compared_on_the_disk(tmp_path):
    """Measured: 216 MiB, and 219 at four million."""
    ids = [f"row {number:012}" for number in range(1_000_000)]
    write(tmp_path, *ids)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_complete(tmp_path, (("quiz", row_id) for row_id in ids))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10

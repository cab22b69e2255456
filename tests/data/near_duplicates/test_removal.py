"""One row of each set of near duplicates stays, the same one however the rows are divided and the run is stopped."""

import os
import random
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from eshop_ray.config.cleaning import NearDuplicatesSection
from eshop_ray.data.near_duplicates import candidates, judging, removal, remove_near_duplicates, signing, work
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage, StorageError
from tests.data.near_duplicates.in_process import Tables, list_ids, without_ray

SECTION = NearDuplicatesSection()


@pytest.fixture(autouse=True)
def alone(request):
    if "ray_session" in request.fixturenames:
        yield
        return
    with without_ray():
        yield


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path / "work"))


def make_rows(num_products=400, num_planted=60):
    """Return rows and the ids of those that were planted: copies, and copies with a word changed or added."""
    draw = random.Random(5)
    rows = [
        {"id": f"p{number:05d}", "text": " ".join(f"w{draw.randrange(3000)}" for _ in range(draw.randint(30, 60)))}
        for number in range(num_products)
    ]
    for number in range(num_planted):
        words = draw.choice(rows[:num_products])["text"].split()
        words[-1:] = [[words[-1]], ["other"], [words[-1], "more"]][number % 3]
        rows.append({"id": f"q{number:05d}", "text": " ".join(words)})
    return rows, [row["id"] for row in rows[num_products:]]


def divide(rows, num_blocks, seed=0):
    rows = rows[:]
    random.Random(seed).shuffle(rows)
    size = -(-len(rows) // num_blocks)
    return [pa.Table.from_pylist(rows[start : start + size]) for start in range(0, len(rows), size)]


def remove(storage, rows, section=SECTION, **columns):
    return remove_near_duplicates(Tables(rows), section, storage, **columns)


def keep(storage, *texts, section=SECTION):
    """Return the numbers of the texts that stay."""
    rows = [{"id": f"{number:03d}", "text": text} for number, text in enumerate(texts)]
    return [int(row_id) for row_id in list_ids(remove(storage, [pa.Table.from_pylist(rows)], section).kept)]


@pytest.mark.parametrize("num_blocks", [1, 3, 17])
def test_all_that_was_planted_goes_wherever_it_stands(tmp_path, monkeypatch, num_blocks):
    monkeypatch.setattr(signing, "KEYS", 500)
    monkeypatch.setattr(signing, "EQUAL_ROWS", 100)
    monkeypatch.setattr(candidates, "BIN_ROWS", 10)
    rows, planted = make_rows()
    found = remove(Storage(str(tmp_path)), divide(rows, num_blocks, seed=num_blocks))
    assert list_ids(found.removed) == planted
    assert list_ids(found.kept) == sorted(row["id"] for row in rows if row["id"] not in planted)
    del found.report["examples"]
    assert found.report == {"num_rows": 460, "num_equal": 20, "num_near": 40}


def test_texts_and_survivors_are_shown(storage):
    rows, planted = make_rows()
    report = remove(storage, divide(rows, 3)).report
    assert [example["id"] for example in report["examples"]] == sorted(example["id"] for example in report["examples"])
    texts = {row["id"]: row["text"] for row in rows}
    for example in report["examples"]:
        assert example["id"] in planted
        assert (example["text"], example["survivor_text"]) == (texts[example["id"]], texts[example["survivor"]])
        assert 0.8 <= example["similarity"] < 1


def test_columns_of_all_kinds_come_through(storage):
    rows = [{"id": "b", "text": "one two", "more": {"x": [1]}}, {"id": "a", "text": "One, two!", "more": None}]
    kept = list(remove(storage, [pa.Table.from_pylist(rows)]).kept.iter_rows())
    assert kept == [{"id": "a", "text": "One, two!", "more": None}]


def test_priority_comes_before_the_id(storage):
    rows = [
        {"id": "a", "text": "one two three four five six seven eight nine", "rank": 2},
        {"id": "b", "text": "one two three four five six seven eight nine", "rank": None},
        {"id": "c", "text": "one two three four five six seven eight nine ten", "rank": 1},
    ]
    section = NearDuplicatesSection(threshold=0.6, num_units=3)
    found = remove(storage, [pa.Table.from_pylist(rows)], section, priority_column="rank")
    assert list_ids(found.kept) == ["c"]
    assert {row["id"]: row["survivor"] for row in found.removed.iter_rows()} == {"a": "c", "b": "a"}


@pytest.mark.parametrize("unit", ["word", "character"])
def test_rows_of_unlike_kinds_are_not_compared(storage, unit):
    same = "one two three four five six seven eight nine ten eleven twelve"
    rows = [
        {"id": "a", "text": same, "kind": "title"},
        {"id": "b", "text": same, "kind": "brand"},
        {"id": "c", "text": f"{same} thirteen", "kind": "brand"},
        {"id": "d", "text": same, "kind": "title"},
    ]
    section = NearDuplicatesSection(unit=unit)
    found = remove(storage, divide(rows, 2), section, within_column="kind")
    assert {row["id"]: row["survivor"] for row in found.removed.iter_rows()} == {"c": "b", "d": "a"}


def test_empty_and_short_texts_are_alike_to_equal_ones_only(storage):
    texts = ["", "!!!", "???", "👍", "👎", "red pan", "red pot", "pan", "Red pan!", "", "a b c d e", "a b c d f"]
    assert keep(storage, *texts) == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11]


def test_chinese_is_compared_by_characters(storage):
    stem = "这个锅的质量非常好我用了三年还是像新的一样推荐给大家购买而且价格也很合理"
    assert keep(storage, stem + "谢谢", stem + "再见", "完全不同的另一句话说的是毛巾的颜色") == [0, 2]


def test_character_shingles_find_other_spellings(storage):
    texts = ["waterproof jacket with hood for men and women", "water-proof jacket with hoods for men and women"]
    assert keep(storage, *texts) == [0, 1]
    character = NearDuplicatesSection(unit="character", num_units=4)
    assert keep(storage, *texts, section=character) == [0]


def test_more_rows_of_one_set_than_a_task_compares(storage, monkeypatch):
    monkeypatch.setattr(candidates, "BIN_ROWS", 7)
    monkeypatch.setattr(judging, "SHINGLES_AT_ONCE", 400)
    stem = " ".join(f"w{number}" for number in range(60))
    rows = [{"id": f"{number:03d}", "text": f"{stem} own{number}"} for number in range(40)]
    rows.append({"id": "other", "text": "something else altogether and of many other words"})
    found = remove(storage, divide(rows, 4))
    assert list_ids(found.kept) == ["000", "other"]
    assert {row["survivor"] for row in found.removed.iter_rows()} == {"000"}


def test_equal_blocks_are_as_many_rows(storage):
    block = pa.table({"id": ["a", "b"], "text": ["one", "two"]})
    found = remove(storage, [block, block])
    assert found.report["num_rows"] == 4
    assert list_ids(found.kept) == ["a", "b"]


def test_nothing_at_all(storage):
    found = remove(storage, [pa.table({"id": [], "text": []})])
    assert found.report == {"num_rows": 0, "num_equal": 0, "num_near": 0, "examples": []}


def test_a_stopped_run_goes_on_where_it_was(storage, monkeypatch):
    rows, planted = make_rows()
    blocks = divide(rows, 5)
    done = []

    def stop_at(limit):
        def map_tasks(function, items):
            for item in items:
                if len(done) == limit:
                    raise KeyboardInterrupt
                done.append(item["name"])
                yield function(item)

        monkeypatch.setattr(work, "map_tasks", map_tasks)

    limit = 0
    while True:
        stop_at(limit := limit + 2)
        try:
            found = remove(storage, blocks)
        except KeyboardInterrupt:
            continue
        break
    assert limit > 6
    assert len(done) == len(list(Path(storage.uri).rglob("*.json"))) - len(blocks)
    assert list_ids(found.removed) == planted


def test_other_settings_do_not_take_over_what_was_done(storage):
    rows, planted = make_rows()
    blocks = divide(rows, 2)
    assert list_ids(remove(storage, blocks).removed) == planted
    strict = remove(storage, blocks, NearDuplicatesSection(threshold=1.0))
    assert strict.report["num_near"] == 0
    assert set(list_ids(strict.removed)) < set(planted)


def test_a_damaged_file_is_named(storage):
    rows, _ = make_rows()
    blocks = divide(rows, 2)
    remove(storage, blocks)
    for path in Path(storage.uri).rglob("gone/*.npy"):
        path.write_bytes(path.read_bytes()[:20])
    for path in Path(storage.uri).rglob("equal/*.arrow"):
        path.write_bytes(b"")
    with pytest.raises(StorageError, match=r"equal/000000.arrow is gone or damaged"):
        remove(storage, blocks)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (pa.table({"id": ["a"], "title": ["x"]}), "no column text; they have id, title"),
        (pa.table({"id": ["a", None], "text": ["x", "y"]}), "1 rows have no `id`"),
    ],
)
def test_rows_that_cannot_be_compared(storage, block, message):
    with pytest.raises(UserError, match=message):
        remove(storage, [block])


@pytest.mark.ray
def test_a_worker_that_dies_changes_nothing(ray_session, storage, tmp_path):
    """The same rows go as without Ray, though the process of a task is killed in its midst."""
    rows, planted = make_rows()
    mark = tmp_path / "killed"
    sign_part = removal.sign_part

    def die_once(job, item):
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return sign_part(job, item)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "sign_part", die_once)
        found = remove_near_duplicates(ray_session.data.from_arrow(divide(rows, 4)), SECTION, storage)
    assert mark.exists()
    assert list_ids(found.removed) == planted
    assert list_ids(found.kept) == sorted(row["id"] for row in rows if row["id"] not in planted)

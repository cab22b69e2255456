"""Real Delta tables, damaged byte by byte: what a reader is told, what repair keeps, and what it says is lost."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.config import Config
from eshop_ray.enrichment.columns import ENRICHED_SCHEMA
from eshop_ray.enrichment.lineage import repair, verify
from eshop_ray.enrichment.table import Writer, table
from eshop_ray.enrichment.tables import enriched_table, quarantine_table
from eshop_ray.errors import UserError
from eshop_ray.jobs.verify import run as run_job
from eshop_ray.jobs.verify import word_repair

NUM_ENTRIES = 26
"""Of the log: the table's, a run's start, a commit of two rows each."""
NUM_ROWS = 2 * (NUM_ENTRIES - 2)
LAST = f"_delta_log/{NUM_ENTRIES - 1:020}.json"
CHECKPOINT = "_delta_log/00000000000000000020.checkpoint.parquet"
HINT = "_delta_log/_last_checkpoint"


def make_config(folder):
    return Config.model_validate({"name": "night", "run_root": str(folder)})


def commit(writer, made, numbers, run_id="run"):
    rows = [
        {**dict.fromkeys(ENRICHED_SCHEMA.names), "product_id": f"p{number}", "task": "ner", "status": "empty"}
        for number in numbers
    ]
    content = pa.Table.from_pylist(rows, schema=ENRICHED_SCHEMA)
    writer.commit([made.write_rows(content, {"task": "ner", "bucket": "1"}, run_id)], [])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A table whose log has two checkpoints, and some entries after the later one."""
    folder = tmp_path_factory.mktemp("sound")
    config = make_config(folder)
    quarantine_table(config.quarantine_uri).create(1)
    made = enriched_table(config.table_uri)
    made.create(1)
    writer = Writer(made, "run")
    for number in range(NUM_ENTRIES - 2):
        commit(writer, made, (2 * number, 2 * number + 1))
    return folder


@pytest.fixture
def config(tmp_path, sound):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    return make_config(tmp_path)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "night" / "enriched"


def read_products(config):
    made = enriched_table(config.table_uri)
    return sorted(one for file in made.snapshot().files for one in made.read_file(file)["product_id"].to_pylist())


def products(numbers):
    return sorted(f"p{number}" for number in numbers)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path, position=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


def flip_page(path):
    """Flip a bit in the first column's values, which a checksum guards."""
    column = pq.read_metadata(path).row_group(0).column(0)
    flip(path, column.data_page_offset + column.total_compressed_size // 2)


def first_file(config):
    return next(file for file in enriched_table(config.table_uri).snapshot().files)


@pytest.mark.parametrize("damage", [flip_page, cut, empty, Path.unlink])
def test_damaged_data_file_is_taken_out_by_one_commit_and_its_rows_are_counted(config, place, damage):
    file = first_file(config)
    lost = enriched_table(config.table_uri).read_file(file)["product_id"].to_pylist()
    damage(place / file.name)
    with pytest.raises(UserError, match=rf"{file.name} is (damaged|missing): `eshop verify CONFIG --repair` takes"):
        enriched_table(config.table_uri).read_file(file)
    (done,) = repair(config)
    assert (done.num_damaged_files, done.lost_rows) == (1, Counter(ner=2))
    assert (done.set_aside, done.version) == ((), NUM_ENTRIES + 1)
    assert read_products(config) == sorted(set(products(range(NUM_ROWS))) - set(lost))
    assert verify(config).findings == ()
    assert repair(config) == []


def test_a_changed_byte_anywhere_in_a_data_file_is_found_and_never_a_traceback(config, place):
    file = first_file(config)
    made = enriched_table(config.table_uri)
    intact = made.read_file(file)
    messages = set()
    for position in range(0, file.size, 11):
        flip(place / file.name, position)
        assert made.check_file(file) == "changed since it was written"
        try:
            assert made.read_file(file).equals(intact), position
        except UserError as error:
            messages.add(str(error))
        flip(place / file.name, position)
    (message,) = messages
    assert f"{file.name} is damaged" in message


def test_sound_row_groups_of_a_damaged_file_stay(config, place, monkeypatch):
    monkeypatch.setattr(table, "ROW_GROUP_ROWS", 50)
    made = enriched_table(config.table_uri)
    before = {file.path for file in made.snapshot().files}
    commit(Writer(made, "large"), made, range(1000, 1200), "large")
    (file,) = [file for file in made.snapshot().files if file.path not in before]
    flip(place / file.name, file.size // 16)
    (done,) = repair(config)
    assert done.lost_rows == Counter(ner=50)
    kept = set(read_products(config))
    assert len(kept) == NUM_ROWS + 150
    assert kept < set(products([*range(NUM_ROWS), *range(1000, 1200)]))
    assert word_repair(done)[0] == "1 damaged file taken out; the next night asks again: 50 rows of ner"


@pytest.mark.parametrize(
    ("damage", "trouble"), [(cut, "is cut off or changed"), (empty, "is empty")], ids=["cut", "empty"]
)
def test_damaged_last_entry_is_named_and_repair_goes_back_by_one_version(config, place, damage, trouble):
    damage(place / LAST)
    with pytest.raises(UserError, match=rf"{LAST} {trouble}: `eshop verify CONFIG --repair` takes") as caught:
        enriched_table(config.table_uri).snapshot()
    assert (caught.value.exit_status, "\n" in str(caught.value)) == (2, False)
    assert verify(config).findings == (f"{place / LAST} {trouble}",)
    (done,) = repair(config)
    assert (done.set_aside, done.num_lost_versions, done.num_damaged_files) == ((LAST,), 1, 0)
    assert read_products(config) == products(range(NUM_ROWS - 2))
    assert (place / "_eshop_ray" / "damaged" / LAST.rpartition("/")[2]).exists()
    assert word_repair(done)[1] == "lost: what 1 version changed, which the next night asks again"
    assert verify(config).findings == ()


def test_damaged_entry_in_the_middle_costs_all_after_it(config, place):
    damaged = f"_delta_log/{NUM_ENTRIES - 3:020}.json"
    flip(place / damaged, 0)
    with pytest.raises(UserError, match=damaged):
        enriched_table(config.table_uri).snapshot()
    (done,) = repair(config)
    assert done.num_lost_versions == 3
    assert read_products(config) == products(range(NUM_ROWS - 6))


def test_damaged_entry_that_no_reader_needs_is_no_trouble(config, place):
    cut(place / "_delta_log" / f"{15:020}.json")
    assert read_products(config) == products(range(NUM_ROWS))
    assert repair(config) == []


@pytest.mark.parametrize(("damage", "position"), [(cut, None), (flip, -1)], ids=["cut", "flip"])
def test_damaged_checkpoint_is_named_and_repair_loses_nothing(config, place, damage, position):
    if position is None:
        damage(place / CHECKPOINT)
    else:
        damage(place / CHECKPOINT, position)
    with pytest.raises(UserError, match=rf"{CHECKPOINT} is no whole checkpoint: `eshop verify CONFIG --repair`"):
        enriched_table(config.table_uri).snapshot()
    (done,) = repair(config)
    assert (done.set_aside, done.num_lost_versions, done.num_damaged_files) == ((CHECKPOINT,), 0, 0)
    assert read_products(config) == products(range(NUM_ROWS))
    assert verify(config).findings == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / HINT).unlink(),
        lambda place: (place / HINT).write_text('{"version":17,"size":3}'),
        lambda place: (place / HINT).write_text("junk"),
        lambda place: (place / CHECKPOINT).unlink(),
        lambda place: empty(place / CHECKPOINT),
    ],
    ids=["no hint", "hint at nothing", "junk hint", "checkpoint gone", "empty checkpoint"],
)
def test_log_without_its_newest_checkpoint_is_read_and_written_from_an_earlier_one(config, place, damage):
    damage(place)
    made = enriched_table(config.table_uri)
    assert read_products(config) == products(range(NUM_ROWS))
    writer = Writer(made, "later")
    for number in range(6):
        commit(writer, made, (100 + number,), "later")
    assert read_products(config) == products([*range(NUM_ROWS), *range(100, 106)])
    assert (place / "_delta_log" / f"{30:020}.checkpoint.parquet").exists()
    assert repair(config) == []
    assert verify(config).findings == ()


@pytest.mark.parametrize(("name", "step"), [(LAST, 23), (CHECKPOINT, 997)])
def test_a_changed_byte_anywhere_in_the_log_is_no_traceback(config, place, name, step):
    path = place / name
    for position in range(0, path.stat().st_size, step):
        flip(path, position)
        try:
            enriched_table(config.table_uri).snapshot()
        except UserError as error:
            message = str(error)
            assert f"{name} is " in message or "is not stated" in message, position
        flip(path, position)


def test_log_that_nothing_can_be_read_from_stays_as_it_is(config, place):
    entries = {path.name for path in (place / "_delta_log").iterdir()}
    for path in (place / "_delta_log").glob("*.checkpoint.parquet"):
        cut(path)
    cut(place / "_delta_log" / f"{0:020}.json")
    with pytest.raises(UserError, match=r"no version can be read any more, for .*0\.json is cut off.*from a copy"):
        repair(config)
    assert {path.name for path in (place / "_delta_log").iterdir()} == entries


def test_job_repairs_only_when_told_to_and_says_what_is_lost(config, place, caplog):
    caplog.set_level("INFO")
    (place / first_file(config).name).unlink()
    with pytest.raises(UserError, match="1 of the things verified"):
        run_job(config)
    run_job(config, repairs=True)
    assert "the next night asks again: 2 rows of ner" in caplog.text
    assert "all sound" in caplog.text

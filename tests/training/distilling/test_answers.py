"""Generated answers take the place of targets; rows without one are left out, counted and never guessed."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray import artifacts
from eshop_ray.data.tokenization import tokenize_answer
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import PREDICTION_SCHEMA, encode
from eshop_ray.tasks import get_task
from eshop_ray.training.distilling.answers import read_answers
from eshop_ray.training.prepared_run import PreparedRun

pytestmark = pytest.mark.usefixtures("ray_session")

SAID = {"ner_tagging": "red wool=color | scarf=core_product_type", "classification": "something else"}


def answer(record, text, **other):
    """One row of predictions."""
    row = {"id": record["id"], "task": record["task"], "generated_text": text, "prediction": encode(text)}
    return {**dict.fromkeys(PREDICTION_SCHEMA.names), **row, "finish_reason": "stop", **other}


@pytest.fixture
def write_answers(tmp_path):
    """Return a function that leaves rows as a finished run's predictions."""

    def write(rows):
        folder = tmp_path / "predictions"
        folder.mkdir()
        for number in range(2):
            pq.write_table(
                pa.Table.from_pylist(rows[number::2], schema=PREDICTION_SCHEMA), folder / f"part-{number}.parquet"
            )
        artifacts.write_manifest(folder, "predictions", "inputs", {})
        return folder

    return write


@pytest.fixture
def prepare(make_config, tiny_model_dir):
    def make(folder):
        return PreparedRun.prepare(make_config(answers=str(folder)), tiny_model_dir, "f" * 64)

    return make


def read_all(store):
    return {row.id: row for row in store.read(range(len(store)))}


@pytest.mark.slow  # a batch of answers and a training; each has tests of its own
def test_what_was_generated_is_learned(prepare, write_answers, records, tiny_model_dir):
    rows = [answer(record, SAID[record["task"]]) for record in reversed(records)]
    store = prepare(write_answers(rows)).store
    tokenizer = load_tokenizer(tiny_model_dir)
    found = read_all(store)
    assert (len(found), store.num_unanswered, store.num_errors) == (len(records), 0, 0)
    for row in found.values():
        assert row.answer_ids == tokenize_answer(tokenizer, [{"role": "user", "content": "any"}], SAID[row.task])


def test_targets_may_be_anything(write_answers, records, make_config, tiny_model_dir):
    """As of prompts that nobody has labelled."""
    config = make_config(answers=str(write_answers([answer(record, SAID[record["task"]]) for record in records])))
    for file in config.records_dir.rglob("*.parquet"):
        table = pq.read_table(file, partitioning=None)
        nothing = pa.array(["null"] * len(table), pa.string())
        pq.write_table(table.set_column(table.column_names.index("target"), "target", nothing), file)
    assert len(PreparedRun.prepare(config, tiny_model_dir, "f" * 64).store) == len(records)


def test_rows_without_an_answer_that_can_be_read_are_left_out_and_counted(prepare, write_answers, records, caplog):
    spoilt = [
        {"error": "engine: dead", "prediction": None},
        {"prediction": None},
        {"prediction": encode(get_task(records[2]["task"]).unparsed)},
        {"finish_reason": "length"},
    ]
    bad = [answer(record, "text", **other) for record, other in zip(records, spoilt, strict=False)]
    good = [answer(record, SAID[record["task"]]) for record in records[6:]]
    store = prepare(write_answers([*bad, *good])).store
    assert set(read_all(store)) == {record["id"] for record in records[6:]}
    assert (store.num_unanswered, store.num_errors) == (6, 0)
    assert "left out: 6 of 24 rows without an answer" in caplog.text
    assert "4 of them with one that cannot be read" in caplog.text


def test_thoughts_are_not_learned(write_answers, records):
    folder = write_answers([answer(records[0], "<think>Hm.</think>tent"), answer(records[1], "<think>Hm")])
    assert set(read_answers(folder)["answer"].to_pylist()) == {"tent", None}


def test_answers_to_other_rows_are_refused(prepare, write_answers, records):
    others = [answer({**record, "id": f"other{record['id']}"}, SAID[record["task"]]) for record in records]
    message = r"of 24 rows to learn from 24 are not answered there, and 0 have .* such as \w+ \d\d.*answers .*other"
    with pytest.raises(UserError, match=message):
        prepare(write_answers(others))


def test_a_row_that_is_answered_twice_is_refused(write_answers, records):
    with pytest.raises(UserError, match=r"answers 1 rows more than once, e\.g\. ner_tagging 00"):
        read_answers(write_answers([answer(records[0], "one"), answer(records[1], "two"), answer(records[0], "three")]))


def test_unfinished_predictions_are_refused(prepare, tmp_path):
    with pytest.raises(UserError, match=r"`train\.answers`: .*eshop batch-infer.*, and `evaluate\.split=train`"):
        prepare(tmp_path / "nowhere")

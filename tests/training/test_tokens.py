from itertools import pairwise

import pyarrow as pa
import pytest

from eshop_ray.data.tokenization import TOKEN_SCHEMA
from eshop_ray.errors import UserError
from eshop_ray.training.tokens import SUFFIX, TokenStore, write_tokens

pytestmark = pytest.mark.usefixtures("ray_session")


def token_row(row_id, task="ner", prompt=(1, 2, 3), answer=(4, 5), **other):
    fixed = {"num_cut": 0, "error": None}
    return {"id": row_id, "task": task, "prompt_ids": list(prompt), "answer_ids": list(answer), **fixed, **other}


def failed_row(row_id, error):
    return {**dict.fromkeys(TOKEN_SCHEMA.names), "id": row_id, "task": "ner", "error": error}


ROWS = [
    token_row("b", prompt=(7, 8), answer=(9,)),
    failed_row("x", "tokenize: KeyError: title"),
    token_row("a", "summarization", num_cut=5),
    token_row("a", prompt=range(6)),
    failed_row("y", "too_long: 90 tokens, 80 without its own text; max_row_length is 20"),
    token_row("b", prompt=(3,), answer=(1, 2, 3, 4)),
    failed_row("z", "prompt: no"),
]


def write(ray_session, rows, folder, num_blocks=1):
    size = -(-len(rows) // num_blocks)
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    return write_tokens(
        ray_session.data.from_arrow([pa.Table.from_pylist(block, schema=TOKEN_SCHEMA) for block in blocks]), folder
    )


def read_all(store):
    return [(row.task, row.id, row.prompt_ids, row.answer_ids) for row in store.read(range(len(store)))]


def test_rows_are_numbered_by_task_and_id_and_read_in_any_order(ray_session, tmp_path):
    store = write(ray_session, ROWS, tmp_path)
    assert (len(store), store.num_errors, store.num_too_long, store.num_cut) == (4, 2, 1, 1)
    assert store.tasks.tolist() == ["ner", "ner", "ner", "summarization"]
    assert store.ids.to_pylist() == ["a", "b", "b", "a"]
    rows = store.read([3, 0, 3])
    assert [(row.task, row.id, row.prompt_ids, row.answer_ids) for row in rows] == [
        ("summarization", "a", [1, 2, 3], [4, 5]),
        ("ner", "a", [0, 1, 2, 3, 4, 5], [4, 5]),
        ("summarization", "a", [1, 2, 3], [4, 5]),
    ]
    assert {len(store.read([number])[0].prompt_ids) for number in (1, 2)} == {1, 2}


@pytest.mark.parametrize("num_blocks", [2, 7])
def test_numbers_do_not_depend_on_files_or_their_order(ray_session, tmp_path, num_blocks):
    """Two rows of the same id keep their order, too."""
    first = write(ray_session, ROWS, tmp_path / "one")
    second = write(ray_session, ROWS[::-1], tmp_path / "other", num_blocks)
    assert read_all(first) == read_all(second)
    assert first.num_prompt.tolist() == second.num_prompt.tolist() == [len(row[2]) for row in read_all(first)]
    assert first.num_answer.tolist() == [len(row[3]) for row in read_all(first)]


def test_prompts_are_read_as_one_array(ray_session, tmp_path):
    store = write(ray_session, ROWS, tmp_path, num_blocks=3)
    numbers = store.num_prompt.argsort()[::-1]
    tokens, offsets = store.read_prompts(numbers)
    expected = [row.prompt_ids for row in store.read(numbers)]
    assert [tokens[start:end].tolist() for start, end in pairwise(offsets)] == expected


def test_files_that_no_index_names_are_removed_and_count_for_nothing(ray_session, tmp_path):
    (tmp_path / f"left{SUFFIX}").write_text("of a task that died")
    write(ray_session, ROWS, tmp_path)
    expected = read_all(write(ray_session, ROWS, tmp_path))
    assert len(expected) == 4
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == 1
    assert read_all(TokenStore.open(tmp_path)) == expected


def test_no_usable_row_makes_an_empty_store(ray_session, tmp_path):
    store = write(ray_session, [ROWS[1]], tmp_path)
    assert (len(store), store.num_errors, store.read([]), store.tasks.tolist()) == (0, 1, [], [])


def test_unfinished_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="no complete token files"):
        TokenStore.open(tmp_path)

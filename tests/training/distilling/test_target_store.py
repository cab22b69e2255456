"""Soft targets on disk are what the teacher said, by row, up to the rounding of their precision."""

import numpy as np
import pytest

from eshop_ray.training.distilling import target_store
from eshop_ray.training.distilling.target_store import TargetStore, pack_targets, plan_blocks, write_places
from tests.training.token_stores import build_rows, make_store

NUM_ROWS, TOP_K, VOCABULARY = 40, 6, 99


@pytest.fixture
def store(tmp_path):
    rows = build_rows(NUM_ROWS)
    for row in rows:
        row["group"] = {"ner": ("pairs", "titles")[int(row["id"]) % 2], "ranking": None}[row["task"]]
    return make_store(tmp_path / "tokens", rows)


@pytest.fixture
def written(store, tmp_path, monkeypatch):
    """A folder of targets drawn by chance, and row -> the words and logarithms that went in."""
    monkeypatch.setattr(target_store, "ROWS_PER_BLOCK", 7)
    draw, folder, said = np.random.default_rng(0), tmp_path / "targets", {}
    folder.mkdir()
    blocks = plan_blocks(store, ())
    for block in blocks:
        for row in block.rows:
            answer = store.read([row])[0].answer_ids
            said[int(row)] = zip(*(draw_token(draw, token) for token in answer), strict=True)
            said[int(row)] = tuple(map(np.array, said[int(row)]))
        words, logprobs = (np.concatenate([said[int(row)][part] for row in block.rows]) for part in (0, 1))
        (folder / block.file).write_bytes(pack_targets(words.astype(np.int32), logprobs.astype(np.float16)))
    write_places(blocks, store.num_answer, folder)
    return folder, said


def draw_token(draw, token):
    others = draw.permutation(np.setdiff1d(np.arange(VOCABULARY), [token]))[: TOP_K - 1]
    probabilities = draw.dirichlet(np.full(TOP_K + 1, 0.2)) + 1e-9
    return draw.permutation([*others, token]), np.log(probabilities / probabilities.sum())


def test_blocks_hold_each_row_once_and_one_update_each(store, monkeypatch):
    monkeypatch.setattr(target_store, "ROWS_PER_BLOCK", 7)
    blocks = plan_blocks(store, ("ner/pairs", "ner", "ranking"))
    assert sorted(np.concatenate([block.rows for block in blocks]).tolist()) == list(range(NUM_ROWS))
    assert max(len(block.rows) for block in blocks) == 7
    assert [block.number for block in blocks] == list(range(len(blocks)))
    groups = store.index["group"].to_pylist()
    for block in blocks:
        names = {(store.tasks[row], groups[row]) for row in block.rows}
        expected = {"ner/pairs": ("ner", "pairs"), "ner": ("ner", "titles"), "ranking": ("ranking", None)}
        assert names == {expected[block.update]}


def test_a_teacher_that_is_the_same_for_all_rows_has_no_updates(store):
    assert {block.update for block in plan_blocks(store, ())} == {None}


def test_what_is_read_is_what_was_said(store, written):
    folder, said = written
    targets = TargetStore.open(folder, 1.0)
    for row in (0, NUM_ROWS - 1, *range(0, NUM_ROWS, 3)):
        found = targets.read(row, store.read([row])[0].answer_ids)
        words, logprobs = said[row]
        assert (found.words == words).all()
        np.testing.assert_allclose(found.probabilities, np.exp(logprobs), rtol=0.01, atol=1e-4)
        np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-6)


def test_what_the_teacher_does_not_count_for_goes_to_the_right_word(store, written):
    folder, _ = written
    (row,) = store.read([5])
    whole, half = (TargetStore.open(folder, share).read(5, row.answer_ids) for share in (1.0, 0.25))
    own = whole.words == np.array(row.answer_ids)[:, None]
    assert (own.sum(1) == 1).all()
    expected = 0.25 * whole.probabilities
    expected[:, :-1][own] += 0.75
    np.testing.assert_allclose(half.probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(half.probabilities.sum(1), 1, rtol=1e-6)

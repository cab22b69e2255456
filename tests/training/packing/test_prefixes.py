import os
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eshop_ray.training.packing import prefixes
from eshop_ray.training.packing.prefixes import find_prefixes


def reader(prompts):
    """Return what `find_prefixes` wants to know of prompts."""

    def read(numbers):
        chosen = [prompts[number] for number in numbers]
        offsets = np.concatenate([[0], np.cumsum([len(prompt) for prompt in chosen])])
        return np.array([token for prompt in chosen for token in prompt], dtype=np.int32), offsets

    return read, np.array([len(prompt) for prompt in prompts], dtype=np.int64)


@st.composite
def families(draw):
    """Prompts that begin with one of a few stems, some stems beginning with another."""
    stems = [draw(st.lists(st.integers(0, 2), max_size=20))]
    for _ in range(draw(st.integers(0, 3))):
        stems.append([*draw(st.sampled_from(stems)), *draw(st.lists(st.integers(0, 2), max_size=20))])
    own = st.lists(st.integers(0, 2), min_size=1, max_size=6)
    return draw(st.lists(st.builds(lambda stem, text: stem + text, st.sampled_from(stems), own), max_size=30))


@settings(deadline=None)
@given(families(), st.integers(1, 40), st.sampled_from([8, 2**21]))
def test_shared_lengths_are_exact(prompts, batch_size, chunk_tokens):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefixes, "CHUNK_TOKENS", chunk_tokens)
        found = find_prefixes(*reader(prompts), batch_size)
    for group in set(found.groups.tolist()):
        rows = np.flatnonzero(found.groups == group)
        (shared,) = set(found.lengths[rows].tolist())
        members = [prompts[row] for row in rows]
        limit = min(len(prompt) for prompt in members) - 1
        common = len(os.path.commonprefix(members))  # noqa: RUF071 - these are token ids
        assert shared == (min(limit, common) if len(rows) > 1 else 0)
    firsts = [int(np.flatnonzero(found.groups == group)[0]) for group in range(len(set(found.groups.tolist())))]
    assert firsts == sorted(firsts)


def test_tasks_are_told_apart_and_their_instructions_found():
    prompts = [[task] * 50 + [9, number, number + 1] for number in range(20) for task in (1, 2)]
    found = find_prefixes(*reader(prompts), batch_size=8)
    assert found.groups.tolist() == [0, 1] * 20
    assert set(found.lengths.tolist()) == {51}


def test_a_frequent_longer_beginning_gets_its_own_group():
    """All rows begin alike; half of them go on alike for long."""
    stem = list(range(100, 110))
    prompts = [
        stem + (list(range(200, 400)) if number % 2 else [number + 500] * 8) + [number, 1] for number in range(64)
    ]
    found = find_prefixes(*reader(prompts), batch_size=16)
    assert [set(found.lengths[start::2].tolist()) for start in (0, 1)] == [{10}, {210}]


def test_beginnings_too_rare_to_meet_in_a_batch_do_not_divide_the_rest():
    stem = list(range(100, 150))
    prompts = [stem + [number // 2] * 30 + [1000 + number] for number in range(2000)]
    found = find_prefixes(*reader(prompts), batch_size=16)
    assert set(found.groups.tolist()) == {0}
    assert set(found.lengths.tolist()) == {50}


def test_nothing_shared():
    found = find_prefixes(*reader([[number, 1, 2, 3, 4, 5, 6] for number in range(5)]), batch_size=5)
    assert found.groups.tolist() == [0, 1, 2, 3, 4]
    assert found.lengths.tolist() == [0] * 5


def test_hashes_of_different_beginnings_differ():
    """Swapped and shifted tokens, which a plain sum would not tell apart."""
    prompts = [[1, 2, 3, 4, 0], [2, 1, 3, 4, 0], [4, 3, 2, 1, 0], [0, 0, 5, 5, 0], [5, 5, 0, 0, 0]]
    read, lengths = reader(prompts)
    hashes = prefixes._hash_prompts(read, lengths, [4])[0].tolist()
    assert all(first != second for first, second in pairwise(sorted(hashes)))

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.data.packing import IGNORED, PREFIX, TokenRow, build_packs, count_shared

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@st.composite
def token_rows(draw):
    instructions = {task: draw(st.lists(st.integers(0, 9), max_size=8)) for task in "ab"}
    drawn = draw(st.lists(st.tuples(st.sampled_from("ab"), TOKENS, TOKENS), min_size=1, max_size=12))
    return [
        TokenRow(str(number), task, [*instructions[task], *own], answer)
        for number, (task, own, answer) in enumerate(drawn)
    ]


def of_row(pack, segment):
    """Return which tokens are a row's own or its group's prefix."""
    group = pack.group_ids[pack.segment_ids == segment][0]
    return (pack.group_ids == group) & np.isin(pack.segment_ids, (PREFIX, segment))


def split_pack(pack):
    """Yield prompt and answer of each row in a pack, the prefix put back before it."""
    for segment in range(pack.segment_ids.max() + 1):
        members = of_row(pack, segment)
        is_answer = pack.labels[members] != IGNORED
        tokens = pack.input_ids[members]
        assert not np.any(is_answer[:-1] & ~is_answer[1:])
        assert np.array_equal(pack.labels[members][is_answer], tokens[is_answer])
        assert np.array_equal(pack.position_ids[members], np.arange(len(tokens)))
        yield tuple(tokens[~is_answer].tolist()), tuple(tokens[is_answer].tolist())


@given(token_rows(), st.integers(1, 60))
def test_every_row_is_in_one_pack_with_its_answer_as_labels(rows, pack_length):
    found = Counter(row for pack in build_packs(rows, pack_length) for row in split_pack(pack))
    assert found == Counter((tuple(row.prompt_ids), tuple(row.answer_ids)) for row in rows)


@given(token_rows(), st.integers(1, 60))
def test_packs_are_no_longer_than_asked_but_for_single_rows(rows, pack_length):
    for pack in build_packs(rows, pack_length):
        assert len(pack.input_ids) <= pack_length or pack.segment_ids.max() == 0


@given(token_rows(), st.integers(1, 60))
def test_a_token_sees_what_it_would_see_alone(rows, pack_length):
    for pack in build_packs(rows, pack_length):
        mask = pack.attention_mask()
        for index, segment in enumerate(pack.segment_ids):
            of_prefix = (pack.group_ids == pack.group_ids[index]) & (pack.segment_ids == PREFIX)
            alone = pack.input_ids[of_prefix if segment == PREFIX else of_row(pack, segment)]
            assert pack.input_ids[mask[index]].tolist() == alone[: pack.position_ids[index] + 1].tolist()
            assert set(pack.segment_ids[mask[index]]) <= {PREFIX, segment}


@given(token_rows())
def test_an_answer_never_follows_the_shared_part_directly(rows):
    """The state that predicts a row's first answer token is the row's own, not one that all rows share."""
    for pack in build_packs(rows, 10_000):
        assert not np.any((pack.segment_ids[:-1] == PREFIX) & (pack.labels[1:] != IGNORED))


def test_a_worked_pack():
    rows = [TokenRow("1", "ner", [7, 8, 1], [5, 9]), TokenRow("2", "ner", [7, 8, 2, 3], [6])]
    (pack,) = build_packs(rows, pack_length=8)
    assert pack.input_ids.tolist() == [7, 8, 1, 5, 9, 2, 3, 6]
    assert pack.labels.tolist() == [-100, -100, -100, 5, 9, -100, -100, 6]
    assert pack.position_ids.tolist() == [0, 1, 2, 3, 4, 2, 3, 4]
    assert pack.segment_ids.tolist() == [-1, -1, 0, 0, 0, 1, 1, 1]
    assert [len(pack.input_ids) for pack in build_packs(rows, pack_length=7)] == [5, 5]


def test_tasks_share_a_pack_but_do_not_see_each_other():
    rows = [TokenRow("1", "ner", [7, 1], [5]), TokenRow("2", "ranking", [9, 9, 2], [6, 4], weight=0.5)]
    (pack,) = build_packs(rows, pack_length=8)
    assert pack.input_ids.tolist() == [7, 1, 5, 9, 9, 2, 6, 4]
    assert pack.position_ids.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert pack.group_ids.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert pack.weights.tolist() == [0, 0, 1, 0, 0, 0, 0.5, 0.5]
    assert not pack.attention_mask()[3:, :3].any()


def test_equal_prompts_keep_one_token_each():
    assert count_shared([TokenRow("1", "ner", [7, 8, 1], [5]), TokenRow("2", "ner", [7, 8, 1], [6])]) == 2


def test_no_rows_no_packs():
    assert list(build_packs([], 10)) == []

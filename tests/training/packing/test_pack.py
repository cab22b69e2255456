from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.training.packing.pack import IGNORED, PREFIX, TokenRow, build_pack, count_shared

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


def read_pack(pack):
    """Return id, task, prompt and answer of each row in a pack."""
    return [
        (row_id, task, *tokens) for row_id, task, tokens in zip(pack.ids, pack.tasks, split_pack(pack), strict=True)
    ]


@st.composite
def grouped_rows(draw):
    """Rows with any grouping at all: groups of rows that share nothing are allowed."""
    rows = draw(token_rows())
    return rows, draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))


@given(grouped_rows())
def test_a_pack_holds_each_row_with_its_answer_as_labels(drawn):
    rows, groups = drawn
    found = Counter(read_pack(build_pack(rows, groups)))
    assert found == Counter((row.id, row.task, tuple(row.prompt_ids), tuple(row.answer_ids)) for row in rows)


@given(grouped_rows())
def test_rows_of_a_group_stand_behind_their_exact_shared_beginning(drawn):
    rows, groups = drawn
    pack = build_pack(rows, groups)
    assert np.all(np.diff(pack.group_ids) >= 0)
    by_id = {row.id: row for row in rows}
    for group in set(pack.group_ids.tolist()):
        segments = pack.segment_ids[pack.group_ids == group]
        num_shared = np.count_nonzero(segments == PREFIX)
        assert np.all(segments[:num_shared] == PREFIX)
        members = [by_id[pack.ids[segment]] for segment in dict.fromkeys(segments[num_shared:].tolist())]
        assert num_shared == (count_shared(members) if len(members) > 1 else 0)
        assert all(len(row.prompt_ids) > num_shared for row in members)


@given(grouped_rows())
def test_a_token_sees_what_it_would_see_alone(drawn):
    pack = build_pack(*drawn)
    mask = pack.attention_mask()
    for index, segment in enumerate(pack.segment_ids):
        of_prefix = (pack.group_ids == pack.group_ids[index]) & (pack.segment_ids == PREFIX)
        alone = pack.input_ids[of_prefix if segment == PREFIX else of_row(pack, segment)]
        assert pack.input_ids[mask[index]].tolist() == alone[: pack.position_ids[index] + 1].tolist()
        assert set(pack.segment_ids[mask[index]]) <= {PREFIX, segment}


@given(grouped_rows())
def test_an_answer_never_follows_the_shared_part_directly(drawn):
    """The state that predicts a row's first answer token is the row's own, not one that all rows share."""
    pack = build_pack(*drawn)
    assert not np.any((pack.segment_ids[:-1] == PREFIX) & (pack.labels[1:] != IGNORED))


def test_a_worked_pack():
    rows = [TokenRow("1", "ner", [7, 8, 1], [5, 9]), TokenRow("2", "ner", [7, 8, 2, 3], [6])]
    pack = build_pack(rows)
    assert pack.input_ids.tolist() == [7, 8, 1, 5, 9, 2, 3, 6]
    assert pack.labels.tolist() == [-100, -100, -100, 5, 9, -100, -100, 6]
    assert pack.position_ids.tolist() == [0, 1, 2, 3, 4, 2, 3, 4]
    assert pack.segment_ids.tolist() == [-1, -1, 0, 0, 0, 1, 1, 1]
    assert (pack.ids, pack.tasks, len(pack)) == (("1", "2"), ("ner", "ner"), 8)


def test_groups_share_a_pack_but_do_not_see_each_other():
    rows = [TokenRow("1", "ner", [7, 1], [5]), TokenRow("2", "ranking", [9, 9, 2], [6, 4], weight=0.5)]
    pack = build_pack(rows)
    assert pack.input_ids.tolist() == [7, 1, 5, 9, 9, 2, 6, 4]
    assert pack.position_ids.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert pack.group_ids.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert pack.weights.tolist() == [0, 0, 1, 0, 0, 0, 0.5, 0.5]
    assert not pack.attention_mask()[3:, :3].any()


def test_rows_of_a_group_come_together():
    rows = [TokenRow(str(number), "ner", [number % 2, 5, number], [1]) for number in range(4)]
    assert build_pack(rows, [0, 1, 0, 1]).ids == ("0", "2", "1", "3")


def test_equal_prompts_keep_one_token_each():
    assert count_shared([TokenRow("1", "ner", [7, 8, 1], [5]), TokenRow("2", "ner", [7, 8, 1], [6])]) == 2

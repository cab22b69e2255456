import pytest

from eshop_ray.data import cleaning
from eshop_ray.errors import UserError
from eshop_ray.schema import decode, encode


def row(content, split=None, path="a", line=1, **more):
    base = {"id": None, "task": "ner", "group": None, "target": "[]", "fields": "{}"}
    return {**base, "content": f"{content:016x}", "split": split, "path": path, "line": line, **more}


def keep(rows, eval_split="dev", eval_share=0.5):
    kept, dropped = cleaning.drop_repeats(rows, eval_split, eval_share)
    return [(kept_row["split"], kept_row["path"], kept_row["line"]) for kept_row in kept], dict(dropped)


def test_first_of_equal_rows_stays():
    assert keep([row(1, "train", line=2), row(1, "train", line=1)]) == ([("train", "a", 1)], {"duplicate": 1})


@pytest.mark.parametrize(("eval_split", "winner"), [("dev", "dev"), ("test", "test")])
def test_evaluated_split_keeps_what_stands_in_several(eval_split, winner):
    rows = [row(1, split, path=split) for split in ("train", "test", "dev")]
    assert keep(rows, eval_split) == ([(winner, winner, 1)], {"in_another_split": 2})


def test_training_loses_against_any_other_split():
    assert keep([row(1, "train"), row(1, "other", path="b")])[0] == [("other", "b", 1)]


def test_open_split_follows_from_content():
    rows = [row(number * 2**52, path=str(number)) for number in range(4096)]
    drawn = [split for split, _, _ in keep(rows, eval_share=0.25)[0]]
    assert drawn.count("dev") == 1024
    assert keep(rows, eval_share=0.25) == keep(list(reversed(rows)), eval_share=0.25)


def test_validation_rows_come_from_training_alone_and_stay_the_same():
    rows = [row(number * 2**20, split="train") for number in range(4096)]
    drawn = {
        share: {r["content"] for r in rows if cleaning.draw_validation(r, share) == "validation"}
        for share in (0.25, 0.5)
    }
    assert len(drawn[0.25]) == 1024
    assert drawn[0.25] < drawn[0.5]
    assert {cleaning.draw_validation(row(0, split=split), 1.0) for split in ("dev", "test")} == {"dev", "test"}
    assert cleaning.draw_validation(rows[0], 0.0) == "train"


def test_choosing_by_the_reported_rows_is_refused():
    cleaning.check_validation(0.0, "validation")
    with pytest.raises(UserError, match=r"set another `evaluate\.split`"):
        cleaning.check_validation(0.1, "validation")


def test_missing_ids_become_content():
    kept, _ = cleaning.drop_repeats([row(1, "train"), row(2, "train", id="given")], "dev", 0.1)
    assert [kept_row["id"] for kept_row in kept] == [f"{1:016x}", "given"]


def test_labels_are_all_categories_of_the_group():
    rows = [
        row(1, task="classification", group="shop", target=encode("Garden"), fields=encode({"text": "hose"})),
        row(2, task="classification", group="shop", target=encode("Kitchen"), fields=encode({"text": "mug"})),
        row(3, task="classification", target=encode("yes"), fields=encode({"text": "?", "labels": ["no", "yes"]})),
    ]
    assert cleaning.find_labels(rows) == {("shop", "Garden"), ("shop", "Kitchen")}
    filled = [decode(cleaning.fill_labels(r, {"shop": ["Garden", "Kitchen"]})["fields"])["labels"] for r in rows]
    assert filled == [["Garden", "Kitchen"], ["Garden", "Kitchen"], ["no", "yes"]]


def test_too_many_labels():
    with pytest.raises(UserError, match="group shop: 201 distinct categories"):
        cleaning.check_labels({"shop": [str(number) for number in range(201)]})


def test_share_of_malformed_rows():
    rows = [{"path": "q.conll", "line": 7, "reason": "no tag"}]
    cleaning.check_malformed(rows, num_malformed=1, num_rows=100, max_share=0.01)
    with pytest.raises(UserError, match=r"2 of 100 rows are malformed \(2\.00%\)(.|\n)*q\.conll:7: no tag"):
        cleaning.check_malformed(rows, num_malformed=2, num_rows=100, max_share=0.01)


@pytest.mark.parametrize(
    ("counts", "tasks", "message"),
    [
        ({("ner", "train"): 1}, (), "split 'dev' is empty; found train"),
        ({("ner", "dev"): 1}, (), "split 'train' is empty; found dev"),
        ({}, (), "found no rows at all"),
        ({("ner", "train"): 1, ("ner", "dev"): 1}, ("ranking",), "task 'ranking' has no row"),
    ],
)
def test_empty_splits_and_tasks_are_named(counts, tasks, message):
    with pytest.raises(UserError, match=message):
        cleaning.check_splits(counts, tasks, "dev")


def query_rows(num_rows, **more):
    return [
        row(number << 32, group="esci_pairs", fields=encode({"query": f"q{number % 7}"}), line=number, **more)
        for number in range(num_rows)
    ]


def test_rows_of_one_query_fall_into_one_split():
    rows = query_rows(200)
    for one in rows:
        one["content"] = f"{hash((one['line'], 1)) % 2**64:016x}"
    kept, _ = cleaning.drop_repeats(rows, "dev", 0.5, {"esci_pairs": "query"})
    splits = {}
    for one in kept:
        splits.setdefault(decode(one["fields"])["query"], set()).add(one["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"dev", "train"}
    validation = [cleaning.draw_validation({**one, "split": "train"}, 0.5, {"ner": "query"}) for one in kept]
    by_query = {(decode(one["fields"])["query"], split) for one, split in zip(kept, validation, strict=True)}
    assert len(by_query) == 7


def test_a_group_goes_before_its_task_and_a_named_split_stays():
    (one,) = query_rows(1)
    assert cleaning.find_split_rule(one, {"ner": "title", "esci_pairs": "query"}) == "esci_pairs"
    assert cleaning.find_split_rule(one, {"ner": "title"}) == "ner"
    assert cleaning.find_split_rule(one, {"ranking": "title"}) is None
    kept, _ = cleaning.drop_repeats(query_rows(50, split="train"), "dev", 0.9, {"esci_pairs": "query"})
    assert {one["split"] for one in kept} == {"train"}


def test_a_field_or_rule_that_is_not_there():
    with pytest.raises(UserError, match=r"`data\.split_by\.ner`: a:0 has no field `title`; it has `query`"):
        cleaning.drop_repeats(query_rows(1), "dev", 0.5, {"ner": "title"})
    cleaning.check_split_rules({"ner": "query"}, ["ner"])
    with pytest.raises(UserError, match=r"`data\.split_by`: no row is of a task or group esci$"):
        cleaning.check_split_rules({"ner": "query", "esci": "query"}, ["ner"])

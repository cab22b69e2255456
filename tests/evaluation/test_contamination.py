"""Evaluation rows that training has seen."""

import pyarrow as pa
import pyarrow.parquet as pq

from eshop_ray.evaluation.contamination import find_seen
from eshop_ray.schema import RECORD_SCHEMA, encode

WORDS = "red blue steel wool cotton bottle scarf lamp desk chair garden kitchen small large warm light".split()  # noqa: SIM905


def write(tmp_path, split, texts, task="classification", group=None, more=lambda _text: {}):
    folder = tmp_path / f"task={task}" / f"split={split}"
    folder.mkdir(parents=True)
    rows = [
        {
            "id": f"{split}{n}",
            "task": task,
            "target": encode("x"),
            "group": group,
            "fields": encode({"text": text, "labels": ["a", "b"], **more(text)}),
        }
        for n, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), folder / "part-0.parquet")


def say(number, length=20):
    """A text of its own for each number."""
    return " ".join(f"{WORDS[(number * 7 + place * place) % len(WORDS)]}{number}" for place in range(length))


def test_equal_near_and_new_rows(tmp_path):
    write(tmp_path, "train", [say(number) for number in range(50)])
    changed = say(3).split()
    changed[0] = "other"
    half = " ".join(say(5).split()[:10] + say(99).split()[:10])
    write(tmp_path, "dev", [say(100), say(1).upper().replace(" ", ",  "), " ".join(changed), half])
    seen = find_seen(tmp_path, "dev", ["classification", "ner"])
    assert find_seen(tmp_path, "dev", groups=["other"]) == {}
    assert set(seen) == {"classification"}
    assert (seen["classification"].equal, seen["classification"].near) == ({"dev1"}, {"dev2"})
    assert seen["classification"].describe() == {
        "num_rows": 4,
        "num_equal": 1,
        "num_near": 1,
        "num_elsewhere": 0,
        "elsewhere": {},
        "examples": ["dev1", "dev2"],
    }


def test_wording_that_all_questions_share_is_no_repetition(tmp_path):
    ask = "Which of the following categories does this product belong to? Answer with one of them and nothing else."
    write(tmp_path, "train", [f"{ask} {say(number, 6)}" for number in range(300)])
    write(tmp_path, "dev", [f"{ask} {say(number + 1000, 6)}" for number in range(300)])
    seen = find_seen(tmp_path, "dev", ["classification"])["classification"]
    assert not seen.equal | seen.near


def test_scripts_without_blanks(tmp_path):
    text = "\u3053\u306e\u8d64\u3044\u81ea\u8ee2\u8eca\u306f\u3068\u3066\u3082\u8efd\u304f\u3066\u901f\u3044"
    write(tmp_path, "train", [text])
    write(tmp_path, "dev", [f"{text}\u3067", "\u9752\u3044\u50d8"])
    assert find_seen(tmp_path, "dev", ["classification"])["classification"].near == {"dev0"}


def test_a_query_of_another_task_is_text_that_was_seen_and_no_answer(tmp_path):
    """As queries of ESCI pairs that stand among QueryNER's, and product titles that stand in both groups."""
    write(tmp_path, "dev", ["Red wool scarf!", say(4), "scarf", say(8)], "ner")
    pairs = [f"Query: {text} Product: {say(60)}" for text in ("red wool scarf", "scarf", "blue lamp")]
    write(tmp_path, "train", pairs, group="pairs", more=lambda text: {"query": text.split(":")[1].split(" Prod")[0]})
    write(tmp_path, "train", [f"{say(4)} more"], "generation")
    write(tmp_path, "train", [say(8)], "ner")
    seen = find_seen(tmp_path, "dev")
    assert (seen["ner"].equal, seen["ner"].near) == ({"dev3"}, set())
    assert seen["ner"].elsewhere == {"classification": {"dev0"}, "generation": {"dev1"}}
    described = seen["ner"].describe()
    assert (described["num_elsewhere"], described["examples"]) == (2, ["dev3", "dev0", "dev1"])


def test_groups_of_one_task_are_told_apart(tmp_path):
    write(tmp_path, "dev", [say(1), say(2)], group="pairs")
    write(tmp_path / "more", "dev", [say(1)], group="category")
    (tmp_path / "more/task=classification/split=dev/part-0.parquet").rename(
        tmp_path / "task=classification/split=dev/part-1.parquet"
    )
    write(tmp_path, "train", [say(1)], group="category")
    seen = find_seen(tmp_path, "dev", ["classification"])
    assert list(seen) == ["classification/category", "classification/pairs"]
    assert seen["classification/category"].equal == {"dev0"}
    assert seen["classification/pairs"].equal == set()
    assert seen["classification/pairs"].elsewhere == {"classification/category": {"dev0"}}


def test_nothing_to_compare_with(tmp_path):
    write(tmp_path, "dev", [say(1)])
    assert find_seen(tmp_path, "dev", ["classification"]) == {}

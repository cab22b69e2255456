import io
import json

import pytest

from eshop_ray.data.sources import READERS
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed
from eshop_ray.tasks.metrics import get_metric


def read(*rows):
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    return list(READERS["esci"](io.BytesIO(lines.encode()), "pairs.jsonl", {}))


def pair(label="Exact", query="wool  scarf", product_title="Scarf,\nred", **more):
    return {"query": query, "product_title": product_title, "esci_label": label, **more}


def test_pair_becomes_a_classification_record():
    (record,) = read(pair(row=0, source_form="select"))
    assert record == {
        "task": "classification",
        "group": "esci_pairs",
        "metric": "accuracy",
        "text": "Query: wool scarf\nProduct: Scarf, red",
        "query": "wool scarf",
        "labels": ["Exact", "Substitute", "Complement", "Irrelevant"],
        "target": "Exact",
    }


def test_letters_mean_the_words():
    letters, words = ("E", "S", "C", "I"), ("Exact", "Substitute", "Complement", "Irrelevant")
    assert [record["target"] for record in read(*map(pair, letters))] == list(words)
    assert [record["target"] for record in read(*map(pair, words))] == list(words)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (pair(label="X"), "`esci_label` 'X' is none of Exact, Substitute, Complement, Irrelevant, E, S, C, I"),
        (pair(label=None), "`esci_label`"),
        (pair(label=["Exact"]), "`esci_label`"),
        (pair(query=" "), "`query` is missing"),
        (pair(product_title=7), "`product_title` is missing"),
        ({"query": "scarf", "esci_label": "E"}, "`product_title` is missing"),
        ("[]", "expected a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_bad_rows_are_named(row, reason):
    good, bad = read(pair(), row)
    assert good["target"] == "Exact"
    assert isinstance(bad, Malformed)
    assert (bad.path, bad.line) == ("pairs.jsonl", 2)
    assert reason in bad.reason


def test_file_of_another_kind_is_refused():
    with pytest.raises(UserError, match="no row has product_title, esci_label; found query, title"):
        read({"query": "scarf", "title": "Scarf"})


def test_accuracy_is_the_micro_f1_of_single_labels():
    targets, predictions = ["Exact", "Substitute", "Exact"], ["Exact", "Exact", "Exact"]
    micro_f1 = get_metric("micro f1").aggregate([[label] for label in targets], [[label] for label in predictions])
    assert get_metric("accuracy").aggregate(targets, predictions) == pytest.approx(micro_f1)

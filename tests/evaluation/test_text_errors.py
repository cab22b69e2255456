"""Written answers: length, copying, empty and cut ones, and which rows stand at the ends."""

from dataclasses import replace

import pytest

from eshop_ray.evaluation import text_errors
from eshop_ray.evaluation.tally import Tally
from eshop_ray.evaluation.text_errors import TextErrors, measure
from eshop_ray.evaluation.text_tables import show_text_errors
from eshop_ray.schema import encode
from eshop_ray.tasks.metrics.similarity import SIMILARITY

SOURCE = "Reviews: - Keeps tea hot all day. - Great, but the lid leaks a little."


@pytest.mark.parametrize(
    ("answer", "share", "run"),
    [
        ("keeps TEA hot, all day", 1.0, 5),
        ("It keeps tea hot all night", 1 / 3, 4),
        ("hot all day great but", 1.0, 5),
        ("A fine bottle for the road", 0.0, 1),
        ("tea hot", 1.0, 2),
        ("lid that leaks", 0.0, 1),
    ],
)
def test_what_is_copied(answer, share, run):
    found = dict(measure(answer, "Keeps tea hot.", SOURCE))
    assert (found["copied share"], found["longest copied run"]) == (pytest.approx(share), run)


def test_lengths_are_words_whatever_the_script():
    assert dict(measure("\u8336\u304c\u71b1\u3044", "\u8336\u71b1", "x"))["ratio to target"] == 2
    found = dict(measure("", ["one two", "one two three four"], SOURCE))
    assert found == {"words": 0, "ratio to target": 0}
    assert dict(measure("a b", ["one two", "one two three four"], SOURCE))["ratio to target"] == pytest.approx(2 / 3)
    assert "ratio to target" not in dict(measure("a", "", SOURCE))


def encode_nothing(monkeypatch, score=lambda targets, _answers: [0.5] * len(targets)):
    """Go without the encoder, which takes seconds."""
    monkeypatch.setattr(text_errors, "SIMILARITY", replace(SIMILARITY, score_rows=score))


def add(errors, *answers, reason="stop", start=0):
    ids = [f"r{number:03}" for number in range(start, start + len(answers))]
    messages = [[{"role": "user", "content": "An example"}, {"role": "user", "content": SOURCE}]] * len(ids)
    columns = {"id": ids, "messages": messages, "finish_reason": [reason] * len(ids)}
    errors.add(columns, ["Keeps tea hot."] * len(ids), answers, [0.25] * len(ids))
    return errors


def test_empty_and_cut_answers_are_counted_and_failed_ones_are_not_answers(monkeypatch):
    encode_nothing(monkeypatch)
    errors = add(TextErrors("bleu"), "Keeps tea hot.", "", "  ", None)
    found = add(errors, *("tea " * number for number in range(1, 40)), reason="length", start=10).describe()
    assert (found["num_rows"], found["num_empty"], found["num_cut"]) == (42, 2, 39)
    words = found["measures"]["words"]
    assert words["highest"] == ["r048", "r047", "r046"]
    assert words["lowest"] == ["r001", "r002", "r010"]
    assert words["quantiles"][2] == pytest.approx(18.5)
    assert list(found["measures"]) == list(text_errors.MEASURES)
    assert found["measures"]["ROUGE-L"]["highest"][0] == "r000"
    page = show_text_errors([(("titles",), found)], ("group",))
    assert page.tables[0].rows == [("titles", "42", "2", "39", "42")]
    assert ("titles", "words", "r001, r002, r010", "r048, r047, r046") in page.tables[2].rows


def test_what_is_the_score_is_known_of_all_rows_and_computed_once(monkeypatch):
    encode_nothing(monkeypatch, None)
    found = add(TextErrors("sent-transformer"), "tea", None, "hot tea").describe()["measures"]
    assert found["similarity"]["quantiles"] == [0.25] * 5
    assert found["similarity"]["lowest"] == ["r000", "r002"]
    assert found["ROUGE-L"]["highest"] == ["r000", "r002"]


def test_the_sample_is_the_same_for_every_model_and_every_order(monkeypatch):
    monkeypatch.setattr(text_errors, "NUM_COMPARED", 5)
    answers = [f"answer {number}" for number in range(30)]
    one = add(TextErrors("bleu"), *answers)
    other = add(add(TextErrors("bleu"), *answers[20:], start=20), *answers[:20])
    assert [row[1] for row in one._sample] == [row[1] for row in other._sample]
    assert len(one._sample) == 5


def test_only_written_answers_with_their_prompts_are_looked_at(monkeypatch):
    encode_nothing(monkeypatch)
    row = {"id": "a", "task": "summarization", "group": "g", "target": encode("Tea"), "prediction": encode("tea pot")}
    row |= {"metric": "rougel", "error": None, "finish_reason": "stop"}
    assert "text_errors" not in Tally.of([row]).describe()
    tally = Tally.begin({**row, "messages": []})
    tally.add({name: [value] for name, value in {**row, "messages": []}.items()})
    assert tally.describe()["text_errors"]["num_rows"] == 1
    assert Tally.begin({**row, "metric": "accuracy", "messages": []}).text_errors is None

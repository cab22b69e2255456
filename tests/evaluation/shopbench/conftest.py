"""Questions of ShopBench's format, written for these tests, and files of them."""

import json

import pytest

TRACKS = {1: "understanding-shopping-concepts", 2: "shopping-knowledge-reasoning", 4: "multi-lingual-abilities"}


def question(prompt, answer, task_type, metric, task, track=None):
    row = {"input_field": prompt, "output_field": answer, "task_name": task, "task_type": task_type, "metric": metric}
    row["is_multiple_choice"] = task_type == "multiple-choice"
    return row if track is None else {**row, "track": f"amazon-kdd-cup-24-{TRACKS[track]}"}


def make_rows():
    """Three tracks, five types; the task `titles` has two metrics."""
    rows = []
    for number in range(6):
        options = "\n".join(f"{place}. {word} {number}" for place, word in enumerate(("lamp", "tent", "scarf", "mug")))
        choice = f"Which of these keeps rain off in test {number}?\n{options}\nAnswer: "
        rows.append(question(choice, 1, "multiple-choice", "accuracy", "choices", 1))
        query = (
            f"Extract phrases of the entity type 'color'. Separate them with comma.\nQuery: red mug {number}\nOutput: "
        )
        rows.append(question(query, ["red"], "named_entity_recognition", "micro f1", "colors", 1))
        asked = f"A pack holds {number + 2} mugs of 3 ounces. What is the total weight?"
        packs = f"{asked}\n0. 3 ounce\n1. {3 * number + 6} ounce\nAnswer: "
        rows.append(question(packs, 1, "multiple-choice", "accuracy", "packs", 2))
        asked = f"Choose three products that go with rope {number}, separated with comma."
        several = f"{asked}\nProduct List:\n{options}\nOutput: "
        rows.append(question(several, [0, 2, 3], "retrieval", "hit rate@3", "pairs", 2))
        ranked = f"Rank the products for the query 'tent {number}'.\n1. tent\n2. mug\n3. peg\n4. fan\n5. cup\nOutput: "
        rows.append(question(ranked, [1, 0, 0.1, 0, 0], "ranking", "ndcg", "orders", 2))
        metric = "bleu" if number % 2 else "rougel"
        title = f"Translate the product title 'rote Tasse {number}' into English.\nOutput: "
        rows.append(question(title, f"red mug with number {number}", "generation", metric, "titles", 4))
    return rows


@pytest.fixture
def rows():
    return make_rows()


@pytest.fixture
def write_file(tmp_path):
    """Write rows, JSON Lines, and return the path."""

    def write(rows, name="questions.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def load(write_file):
    """Write rows and read them as questions."""
    from eshop_ray.config import Config
    from eshop_ray.evaluation.shopbench.questions import read_questions

    def load(rows, **settings):
        return read_questions(Config(name="bench", **settings), write_file(rows))

    return load

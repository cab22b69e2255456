"""The teacher's route from seeds to rows, asked through an endpoint: what is kept, counted, and never asked twice."""

import json
import re
import shutil
from collections import Counter

import pytest

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.errors import BudgetSpentError
from eshop_ray.jobs import build_instructions as job
from eshop_ray.schema import decode
from eshop_ray.tasks import get_task
from tests.data.instructions.test_build_instructions import read_card, read_rows, write_shop
from tests.inference.engines.fake_endpoint import start_endpoint

pytestmark = pytest.mark.usefixtures("ray_session")

FREE = ("MIT", "CC0-1.0")
SECRET = "Vermilion"
HELD = "Nordvik Bottle"
UNKNOWN = ("Lamp", "Tent", "Kettle", "Desk", "Rug", "Saw")
"""What the teacher knows nothing of."""
WORDS = ("amber", "bronze", "cedar", "denim", "ebony", "frost", "grove", "hazel", "ivory", "jade", "khaki", "linen")


def act_as_teacher(_number, body):
    """Answer as a teacher of many moods: each kind of trouble comes from time to time, by the request's seed."""
    system, asked = body["messages"][0]["content"], body["messages"][-1]["content"]
    if system.startswith("You check"):
        return "answer 2" if "useless" in asked else "answer 5"
    if system.startswith("You translate"):
        return f"answer {translate(asked)}"
    if system.startswith("You answer"):
        return "answer " + json.dumps({"reasoning": "Its name tells what it is.", "answer": find_right(asked)})
    seed = body["seed"]
    first = next(line for line in asked.splitlines() if line.startswith("{"))
    word = f"{WORDS[seed % 12]} {WORDS[seed // 12 % 12]} {WORDS[seed // 144 % 12]}"
    question = f"A {word} rug that is woven by hand in {seed % 97} villages near the {word} sea. What is its title?"
    moods = {
        1: "answer I would rather not.",
        2: "answer " + json.dumps({"question": "Title?", "answer": "Mug"}),
        3: f"answer {first}",
        4: "answer " + json.dumps({"question": question + " This is useless.", "answer": "Carpet"}),
        5: "answer " + json.dumps({"question": question + f"\nBeside it: {HELD}", "answer": "A Woven Carpet"}),
        6: "answer " + json.dumps({"question": question, "answer": word}),
    }
    return moods.get(seed % 9, "answer " + json.dumps({"question": question, "answer": f"Carpet of {seed}"}))


def find_right(asked):
    """Return the option whose name is the product's, but of half of all things always the first."""
    options = re.findall(r"^(\d)\. .* (\w+)s$", asked, re.MULTILINE)
    stem = re.sub(r"^\d\. .*$", "", asked, flags=re.MULTILINE)
    return next((int(number) for number, noun in options if noun in stem and noun not in UNKNOWN), 0)


def translate(asked):
    question = json.loads(asked.splitlines()[-1])["question"]
    options = re.findall(r"^\d\. .*$", question, re.MULTILINE)
    stem = "In welche der folgenden Abteilungen unseres Ladens gehoert das Produkt, das oben auf der Seite steht?"
    return json.dumps({"question": "\n".join([stem, *options])})


def make_config(folder, endpoint, run="run", allowed=(), openai=None, **teacher):
    sources = {
        "shop": {"format": "products", "path": "catalogue.jsonl", "licence": "MIT"},
        "free": {"format": "products", "path": "free.jsonl", "licence": "CC0-1.0"},
        "secret": {"format": "products", "path": "secret.jsonl", "licence": "Proprietary"},
    }
    recipe = {
        "sources": sources,
        "subtasks": [
            {"name": "title_generation", "source": ["shop", "free", "secret"]},
            {"name": "category_classification", "source": ["shop", "free"]},
        ],
        "eval_share": 0.2,
        "max_eval_rows": 10,
        "licences": [*allowed],
        "decontaminate": [{"format": "products", "path": "held.jsonl"}],
        "teacher": {
            "engine": "openai",
            "written": {"title_generation": 30},
            "reasoned": {"category_classification": 6},
            "translated": {"category_classification": 6},
            "languages": ["de"],
            **teacher,
        },
    }
    asked = {"base_url": endpoint.url, "model": "big-one", "max_concurrent_requests": 4, **(openai or {})}
    return Config.model_validate(
        {
            "name": run,
            "run_root": str(folder / "runs"),
            "data": {"root": str(folder)},
            "instructions": recipe,
            "openai": asked,
        }
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    write_shop(folder)
    text = (folder / "catalogue.jsonl").read_text()
    free = [{**json.loads(line), "id": f"free-{n}"} for n, line in enumerate(text.splitlines()[::7])]
    for one in free:
        one["name"] = one["name"].replace(" ", " Free ")
    (folder / "free.jsonl").write_text("\n".join(map(json.dumps, free)))
    secret = [{**one, "name": f"{one['name']} {SECRET}", "id": f"s-{one['id']}"} for one in free]
    secret = [{**one, "description": f"{SECRET} {one['description']}"} for one in secret]
    (folder / "secret.jsonl").write_text("\n".join(map(json.dumps, secret)))
    (folder / "held.jsonl").write_text(json.dumps({"id": "1", "name": HELD}))
    return folder


@pytest.fixture(scope="module")
def taught(shop, ray_session):  # noqa: ARG001
    """One build with a teacher, and what the endpoint was asked."""
    with start_endpoint(act_as_teacher) as endpoint:
        config = make_config(shop, endpoint, "run", FREE)
        job.run(config)
    return config, endpoint


def of_teacher(config):
    return [row for row in read_rows(config) if row["teacher"]]


def test_rows_of_the_teacher_say_so_and_stay_among_those_to_learn_from(taught):
    config, _ = taught
    rows = of_teacher(config)
    kinds = Counter((row["route"], row["group"], row["task"], row["language"]) for row in rows)
    assert set(kinds) == {
        ("teacher", "title_generation", "generation", "en"),
        ("teacher", "category_classification", "generation", "en"),
        ("multilingual", "category_classification", "multiple_choice", "de"),
    }
    assert {row["split"] for row in rows} == {"train"}
    assert {(row["source"], row["licence"]) for row in rows} <= {("shop", "MIT"), ("free", "CC0-1.0")}
    assert {row["teacher"] for row in rows} == {read_card(config)["teacher"]["name"]}
    assert rows[0]["teacher"].startswith("big-one@")
    for row in rows:
        answer = row["messages"][-1]["content"]
        assert answer == get_task(row["task"]).format_target(decode(row["target"]))


def test_every_answer_is_a_row_or_is_counted_by_its_reason(taught):
    config, endpoint = taught
    told = read_card(config)["teacher"]
    num_judged = sum(body["messages"][0]["content"].startswith("You check") for body in endpoint.bodies)
    assert told["num_asked"] == len(endpoint.bodies) - num_judged == 60 + 12 + 12
    assert told["num_asked"] == told["num_kept"] + sum(told["num_removed"].values())
    assert told["num_kept"] == len(of_teacher(config))
    assert told["kept_share"] == told["num_kept"] / told["num_asked"]
    assert {
        "the teacher's answer is not in the form that it was asked for",
        "a teacher's row is too short",
        "nearly asked twice",
        "the judge scores it too low",
        "it names a product or query of an evaluation set",
        "the answer stands in the question",
        "the teacher's reasoning comes to another answer",
    } <= set(told["num_removed"])
    for reason, number in told["num_removed"].items():
        assert read_card(config)["num_removed"][reason] >= number
        assert read_card(config)["removed_examples"][reason]
    for one in told["rows_by_subtask"].values():
        assert one["num_kept"] <= one["quota"]
    assert "I would rather not." in (config.run_dir / "card.html").read_text()


@pytest.mark.slow  # a build of its own; licences and evaluations are left out before there are seeds
def test_nothing_of_a_forbidden_licence_or_of_an_evaluation_is_shown(taught, shop):
    config, endpoint = taught
    asked = "\n".join(body["messages"][-1]["content"] for body in endpoint.bodies if "seed" in body)
    assert SECRET not in asked
    held = {row["target"] for row in read_rows(config) if row["split"] == "dev" and row["group"] == "title_generation"}
    assert held
    assert not [name for name in held if name in asked]
    with start_endpoint(act_as_teacher) as endpoint:
        own = make_config(shop, endpoint, "some", (*FREE, "Proprietary"), licences=["CC0-1.0"])
        job.run(own)
    shown = "\n".join(body["messages"][-1]["content"] for body in endpoint.bodies if "seed" in body)
    assert SECRET in "".join(row["messages"][1]["content"] for row in read_rows(own))
    assert " Free " in shown
    assert SECRET not in shown
    assert {row["licence"] for row in of_teacher(own)} == {"CC0-1.0"}


def test_the_teacher_moves_no_row_but_its_own(taught, shop):
    config, endpoint = taught
    alone = make_config(shop, endpoint, "alone", FREE)
    alone = alone.model_copy(update={"instructions": alone.instructions.model_copy(update={"teacher": None})})
    job.run(alone)
    assert read_card(alone)["teacher"] is None

    def strip(rows):
        return sorted(json.dumps({**row, "recipe_digest": ""}) for row in rows if not row["teacher"])

    assert strip(read_rows(alone)) == strip(read_rows(config))


def test_a_second_build_asks_nothing_and_gives_the_same_bytes(taught):
    config, _ = taught
    digest = artifacts.find_manifest(config.run_dir / job.FOLDER).digest
    shutil.rmtree(config.run_dir / job.FOLDER)
    job.run(config)  # the endpoint is gone by now
    assert artifacts.find_manifest(config.run_dir / job.FOLDER).digest == digest


@pytest.mark.slow  # a second build asks nothing in the fast test, and costs are capped in those of the endpoint
def test_a_build_that_ran_out_of_money_goes_on_where_it_was(shop):
    prices = {"input_price": 0.0, "output_price": 1e6, "extra_body": {"max_tokens": 60}}
    with start_endpoint(act_as_teacher) as endpoint:
        with pytest.raises(BudgetSpentError, match="what was answered is kept"):
            job.run(make_config(shop, endpoint, "poor", FREE, {**prices, "max_cost": 900}))
        num_first = len(endpoint.bodies)
        assert 10 < num_first < 84
        config = make_config(shop, endpoint, "poor", FREE, {**prices, "max_cost": 100_000})
        job.run(config)
        asked = [json.dumps(body, sort_keys=True) for body in endpoint.bodies]
        assert len(set(asked)) == len(asked)
        assert read_card(config)["teacher"]["num_asked"] == 84


@pytest.mark.slow  # several rounds of what one round proves
def test_rounds_write_after_the_teachers_own_rows_too(shop):
    with start_endpoint(act_as_teacher) as endpoint:
        own = {"written": {"title_generation": 10}, "reasoned": {}, "translated": {}, "languages": [], "rounds": 2}
        config = make_config(shop, endpoint, "rounds", FREE, **own)
        job.run(config)
    asked = [body["messages"][-1]["content"] for body in endpoint.bodies if "seed" in body]
    assert len(asked) == 20
    assert sum("woven by hand" in text for text in asked) in range(5, 11)
    told = read_card(config)["teacher"]
    assert told["num_asked"] == 20 == told["num_kept"] + sum(told["num_removed"].values())

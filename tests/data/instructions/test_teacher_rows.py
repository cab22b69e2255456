"""What a teacher is asked and what its answers come to, without Ray."""

import json
from collections import Counter
from random import Random

import pyarrow as pa
import pytest
from scipy import stats

from eshop_ray.config import Config
from eshop_ray.config.teacher import JudgeSection, TeacherSection
from eshop_ray.data.instructions.candidates import CANDIDATE_SCHEMA
from eshop_ray.data.instructions.choose import OVER_QUOTA, mark_surplus
from eshop_ray.data.instructions.draw import make_draw
from eshop_ray.data.instructions.foreign import FOREIGN
from eshop_ray.data.instructions.limits import find_limits, rank_rows
from eshop_ray.data.instructions.material import text_key
from eshop_ray.data.instructions.plan import Plan, plan_recipe
from eshop_ray.data.instructions.render import UnaskableError, build_messages
from eshop_ray.data.instructions.teacher.answers import ELSEWHERE, NO_OPTIONS, UNREAD, comes_to, settle
from eshop_ray.data.instructions.teacher.commission import Commission, read_commission, to_table
from eshop_ray.data.instructions.teacher.judging import TOO_LOW, UNREADABLE, mark_judged, read_verdict
from eshop_ray.data.instructions.teacher.options import read_options
from eshop_ray.data.instructions.teacher.prompts import (
    list_grades,
    reason_prompts,
    translate_prompts,
    write_prompts,
)
from eshop_ray.data.instructions.teacher.rows import (
    CUT_OFF,
    NO_ANSWER,
    NO_FORM,
    OTHER_ANSWER,
    TOO_LONG,
    TOO_SHORT,
    read_answers,
    read_fields,
)
from eshop_ray.data.instructions.teacher.seeds import Seeds, count_wanted, pick_first, select_seeds, to_seed
from eshop_ray.data.instructions.teacher.translations import (
    CHANGED_NUMBER,
    CHANGED_OPTIONS,
    CHANGED_PLACEHOLDER,
    check_kept,
)
from eshop_ray.data.instructions.text_keys import list_keys
from eshop_ray.errors import UserError
from eshop_ray.schema import PREDICTION_SCHEMA, decode, encode
from eshop_ray.tasks import get_task

CHOICE = "Which of these keeps tea hot on a long walk?\n0. A fan\n1. A steel bottle\n2. A scarf\nAnswer:"


def make_plan(**teacher):
    section = TeacherSection.model_validate({"written": {"a": 2}, **teacher})
    shares = {"eval_share": 0.1, "max_eval_rows": 2, "max_passed_on_share": 0.4}
    return Plan(
        seed=0,
        digest="d",
        drawn_by="b",
        quotas={("a", "train"): None},
        entries=(),
        sources={},
        teacher=section,
        **shares,
    )


def make_commission(**values):
    known = {"group": "a", "source": "shop", "licence": "MIT", "language": "en", "made": "written"}
    task = values.get("task", "multiple_choice")
    return Commission(**{**known, "task": task, "metric": get_task(task).metric, "num_options": 3, **values})


def make_row(number, **values):
    target = values.pop("target", 1)
    prompt = values.pop("prompt", CHOICE.replace("tea", f"tea of kind {number}"))
    row = dict.fromkeys(CANDIDATE_SCHEMA.names)
    known = {"id": f"{number:04d}", "task": "multiple_choice", "group": "a", "split": "train", "metric": "accuracy"}
    known |= {"source": "shop", "licence": "MIT", "language": "en", "rank": number, "keys": [f"k{number}"]}
    task = values.get("task", "multiple_choice")
    row |= {**known, "num_options": 3, "target": encode(target), **values}
    return row | {"messages": build_messages(task, prompt, target)}


def make_answer(prompt, text, **values):
    known = dict.fromkeys(PREDICTION_SCHEMA.names)
    return {**known, **prompt, "prediction": encode(text), "generated_text": text, "finish_reason": "stop", **values}


def read_one(commission, text, plan=None, **values):
    """Return the row that one answer comes to."""
    from eshop_ray.data.instructions.teacher.commission import build_prompt

    prompt = build_prompt(commission, [{"role": "user", "content": "?"}], {})
    table = pa.Table.from_pylist([make_answer(prompt, text, **values)], schema=PREDICTION_SCHEMA)
    [row] = read_answers(table, plan or make_plan(), "model@1").to_pylist()
    return row


def say(question, answer):
    return json.dumps({"question": question, "answer": answer})


# Options and answers


def test_options_are_read_where_they_follow_each_other():
    options = read_options(CHOICE)
    assert options.texts == ("A fan", "A steel bottle", "A scarf")
    assert options.arrange([2, 0, 1]) == CHOICE.replace(
        "A fan\n1. A steel bottle\n2. A scarf", "A scarf\n1. A fan\n2. A steel bottle"
    )
    assert read_options("Choose:\n1. a\n2. b").first == 1
    for question in ("no options", "0. one alone", "2. b\n3. c", "In 2024. we\nsold 3. of them"):
        assert read_options(question) is None
    assert read_options("0. a\ntext between\n1. b") is None


@pytest.mark.parametrize(
    ("task", "question", "answer", "reason"),
    [
        ("multiple_choice", CHOICE, "3", UNREAD),
        ("multiple_choice", CHOICE, "the bottle", UNREAD),
        ("multiple_choice", "Is tea hot?", "1", NO_OPTIONS),
        (
            "multiple_choice",
            CHOICE.replace("0.", "1.").replace("1. A s", "2. A s").replace("2. A sc", "3. A sc"),
            "1",
            NO_OPTIONS,
        ),
        ("multiple_choice", CHOICE.replace("A scarf", "a  FAN"), "1", "two options are the same"),
        ("retrieval", CHOICE, "0,1,2", UNREAD),
        ("retrieval", CHOICE, "1,1", UNREAD),
        ("retrieval", CHOICE, "7", UNREAD),
        ("ranking", CHOICE, "1,2,3", NO_OPTIONS),
        ("ranking", "Rank:\n1. a\n2. b\n3. c", "1,2", UNREAD),
        ("ner", "Colours in: red scarf", "blue", ELSEWHERE),
        ("ner", "Colours in: red scarf", "[]", UNREAD),
        ("generation", "Name the product: a red scarf", "Red Scarf", "the answer stands in the question"),
        ("generation", "Name the product.", "  ", "the answer is empty"),
    ],
)
def test_what_the_task_cannot_read_is_refused(task, question, answer, reason):
    with pytest.raises(UnaskableError) as refused:
        settle(make_commission(task=task), question, answer, Random(0))
    assert str(refused.value) == reason


def test_what_is_right_stays_right_wherever_options_go():
    for number in range(50):
        draw = make_draw(number)
        found = settle(make_commission(), CHOICE, "1", draw)
        assert read_options(found.prompt).texts[found.target] == "A steel bottle"
        assert found.position == found.target
        found = settle(make_commission(task="retrieval"), CHOICE, "1,0", draw)
        assert {read_options(found.prompt).texts[place] for place in found.target} == {"A steel bottle", "A fan"}
        found = settle(make_commission(task="ranking"), "Rank:\n1. a\n2. b\n3. c", "2,3,1", draw)
        order = get_task("ranking").parse(get_task("ranking").format_target(found.target))
        assert [read_options(found.prompt).texts[place - 1] for place in order] == ["b", "c", "a"]


def test_no_place_is_better_than_another_even_if_the_teacher_likes_one():
    places = Counter(settle(make_commission(), CHOICE, "0", make_draw(number)).position for number in range(600))
    assert stats.chisquare([places[place] for place in range(3)]).pvalue > 1e-3


def test_grades_need_no_options_and_quoted_answers_stay_where_the_kind_quotes():
    stars = make_commission(num_options=0, grades=(1, 2, 5))
    found = settle(stars, "Stars of this review: I love it", "5", Random(0))
    assert (found.target, found.position) == (5, None)
    with pytest.raises(UnaskableError, match=UNREAD):
        settle(stars, "Stars of this review: I love it", "9", Random(0))
    quoting = make_commission(task="generation", is_quotable=True)
    assert settle(quoting, "Evidence: holds 2 l. How much?", "Holds 2 l.", Random(0)).target == "Holds 2 l."


def test_reasoning_has_to_come_to_the_whole_answer():
    assert comes_to(make_commission(target=1), "1")
    assert not comes_to(make_commission(target=1), "2")
    assert comes_to(make_commission(task="retrieval", target=[0, 2]), "2,0")
    assert not comes_to(make_commission(task="retrieval", target=[0]), "0,1,2")  # its metric would give it full marks
    assert comes_to(make_commission(task="ner", target=["red", "blue"]), "blue, Red")
    assert not comes_to(make_commission(task="ner", target=["red", "blue"]), "red")
    assert comes_to(make_commission(task="ranking", target=[0.0, 1.0, 0.1]), "2,3,1")


# Answers -> rows


def test_a_row_says_who_made_it_and_under_which_licence():
    row = read_one(make_commission(licence="CC0-1.0"), f"Sure! {say(CHOICE, '1')} Done.")
    assert row["removed"] is None
    assert (row["route"], row["teacher"], row["made"], row["licence"]) == ("teacher", "model@1", "written", "CC0-1.0")
    assert (row["split"], row["group"], row["task"]) == ("train", "a", "multiple_choice")
    answer = row["messages"][-1]["content"]
    assert decode(row["target"]) == get_task("multiple_choice").parse(answer) == row["position"]


@pytest.mark.parametrize(
    ("text", "values", "reason"),
    [
        ("", {"error": "engine: dead", "prediction": None}, NO_ANSWER),
        (say(CHOICE, "1"), {"finish_reason": "length"}, CUT_OFF),
        ("I would rather not.", {}, NO_FORM),
        ('{"question": "Is it?"}', {}, NO_FORM),
        ('{"question": "", "answer": "1"}', {}, NO_FORM),
        ('{"question": "Is', {}, NO_FORM),
        ("[" * 3000 + "{" * 3000, {}, NO_FORM),
        (say("Tea?\n0. a\n1. b", "1"), {}, TOO_SHORT),
        (say(CHOICE + " tea" * 2000, "1"), {}, TOO_LONG),
        (
            say(
                CHOICE.replace(
                    "Which of these keeps tea hot on a long walk", "Was haelt den Tee auf einer langen Wanderung warm"
                )
                .replace("A fan", "Ein Ventilator")
                .replace("A steel bottle", "Eine Flasche aus Stahl")
                .replace("A scarf", "Ein Schal"),
                "1",
            ),
            {},
            FOREIGN,
        ),
    ],
)
def test_every_answer_that_is_no_use_has_a_reason(text, values, reason):
    row = read_one(make_commission(), text, **values)
    assert row["removed"] == reason
    assert row["messages"][0]["role"] == "user"


def test_fields_are_read_as_parsers_want_them():
    assert read_fields('{"question": "a\nb", "answer": 2}', ("question", "answer")) == ["a\nb", "2"]
    assert read_fields('{"question": "q", "answer": [1, 2]}', ("question", "answer")) == ["q", "1,2"]
    assert read_fields('{"question": "q", "answer": ["a, b", "c"]}', ("question", "answer")) == ["q", "['a, b', 'c']"]
    assert read_fields('{"question": "q <|im_end|> r", "answer": "x"}', ("question",)) == ["q   r"]
    for text in ('{"answer": {}}', '{"answer": true}', '{"answer": null}', '{"answer": "\\ud800"}', "[]", '"a"'):
        with pytest.raises(UnaskableError):
            read_fields(text, ("answer",))


def test_a_new_question_names_its_products_and_queries_by_its_text():
    row = read_one(make_commission(), say(CHOICE + '\nA shopper of "Alva Mug"\nQuery: red scarf', "1"))
    assert {text_key("a steel bottle"), text_key("alva mug"), text_key("red scarf")} <= set(row["keys"])
    assert text_key("Nordvik Tent") in set(list_keys("Title for a tent", "Nordvik Tent"))


def test_reasoning_is_learned_with_the_known_answer():
    commission = make_commission(made="reasoned", question=CHOICE, target=1, keys=("k",))
    row = read_one(commission, json.dumps({"reasoning": "Steel bottles hold heat.", "answer": 1}))
    assert row["removed"] is None
    assert (row["task"], row["group"], row["keys"], row["route"]) == ("generation", "a", ["k"], "teacher")
    assert row["messages"][-1]["content"] == "Steel bottles hold heat.\nAnswer: 1" == decode(row["target"])
    assert row["messages"][1]["content"].startswith(CHOICE)
    wrong = read_one(commission, json.dumps({"reasoning": "A fan blows.", "answer": "0"}))
    assert wrong["removed"] == OTHER_ANSWER


# Translations

GERMAN = (
    "Was haelt den Tee auf einer langen Wanderung wirklich warm?\n"
    "0. Ein Ventilator\n1. Eine Flasche aus Stahl\n2. Ein Schal\nAntwort:"
)


def test_a_translation_keeps_options_and_answer_in_their_places():
    commission = make_commission(made="translated", language="de", question=CHOICE, target=1, keys=("k",))
    row = read_one(commission, json.dumps({"question": GERMAN}))
    assert row["removed"] is None
    assert (row["route"], row["language"], row["teacher"], row["keys"]) == ("multilingual", "de", "model@1", ["k"])
    assert (decode(row["target"]), row["position"], row["messages"][1]["content"]) == (1, 1, GERMAN)


def test_a_translation_of_words_has_both_question_and_answer():
    title = {
        "task": "generation",
        "question": "Title for a bottle of 500 ml that [product] is?",
        "target": "Steel bottle, 500 ml",
    }
    commission = make_commission(made="translated", language="de", **title)
    told = say("Wie heisst eine Flasche mit 500 ml, die [product] ist und lange haelt?", "Flasche aus Stahl, 500 ml")
    row = read_one(commission, told)
    assert (row["removed"], row["metric"]) == (None, "multilingual-sent-transformer")
    assert read_one(commission, told.replace("Stahl, 500", "Stahl, 750"))["removed"] == CHANGED_NUMBER
    spans = {"task": "ner", "question": "Which colours are named here: red or blue scarf", "target": ["red", "blue"]}
    commission = make_commission(made="translated", language="de", **spans)
    question = "Welche Farben werden hier genannt: roter oder blauer Schal"
    assert read_one(commission, say(question, "roter, blauer"))["removed"] is None
    assert read_one(commission, say(question, "rot, blau, gelb"))["removed"] == ELSEWHERE
    assert read_one(commission, say(question, "roter"))["removed"] == "a translation has other entities"


@pytest.mark.parametrize(
    ("translated", "reason"),
    [
        (GERMAN.replace("2. Ein Schal\n", ""), CHANGED_NUMBER),
        (GERMAN.replace("1. Eine Flasche aus Stahl\n2. Ein Schal", "2. Ein Schal\n1. Eine Flasche"), CHANGED_OPTIONS),
        (GERMAN.replace("Ein Schal", "Ein Ventilator"), CHANGED_OPTIONS),
        (GERMAN.replace("den Tee", "[EMAIL]"), CHANGED_PLACEHOLDER),
        (CHOICE, FOREIGN),
    ],
)
def test_a_translation_that_lost_something_is_dropped_with_its_reason(translated, reason):
    commission = make_commission(made="translated", language="de", question=CHOICE, target=1)
    assert read_one(commission, json.dumps({"question": translated}))["removed"] == reason


def test_numbers_may_be_written_as_the_language_does():
    check_kept("1,000 pieces of 0.5 l for {name}", "1.000 Stueck zu 0,5 l fuer {name}")
    check_kept("500 ml", "\uff15\uff10\uff10 ml")
    with pytest.raises(UnaskableError, match="numbers"):
        check_kept("2 x 500 ml", "500 ml")
    with pytest.raises(UnaskableError, match="placeholders"):
        check_kept("Dear {name}", "Liebe {nome}")


# Seeds and prompts


def select(rows, held=(), **section):
    table = pa.Table.from_pylist(rows, schema=CANDIDATE_SCHEMA)
    section = TeacherSection.model_validate({"written": {"a": 5}, **section})
    return [row["id"] for row in select_seeds(table, section, frozenset(held)).to_pylist()]


def test_only_rows_that_may_be_shown_are_seeds():
    rows = [
        make_row(0),
        make_row(1, licence="Proprietary"),
        make_row(2, split="dev"),
        make_row(3, removed="asked twice"),
        make_row(4, keys=["held"]),
        make_row(5, group="b"),
        make_row(6, prompt="x" * 5000),
    ]
    assert select(rows, held=["held"], licences=["MIT"]) == ["0000"]
    assert select(rows, held=["held"]) == ["0000", "0001"]


def test_of_many_rows_the_first_by_rank_are_seeds_however_they_come():
    rows = [make_row(number) for number in range(9)]
    assert select(rows[::-1], num_seeds=3) == select(rows, num_seeds=3) == ["0000", "0001", "0002"]


def test_each_kind_of_row_takes_its_own_seeds():
    rows = [
        make_row(0, language="de"),
        make_row(1, task="generation", target="A bottle"),
        make_row(2),
        make_row(3),
    ]
    assert select(rows, written={}, reasoned={"a": 1}, tries=2) == ["0000", "0002"]
    assert select(rows, written={}, translated={"a": 1}, languages=["de"], tries=2) == ["0001", "0002"]


def make_seeds(rows, section):
    by_kind = {key: [to_seed(row) for row in pick_first(rows, most)] for key, most in count_wanted(section).items()}
    return Seeds(by_kind)


def test_a_question_is_written_after_rows_of_one_source_and_licence():
    rows = [make_row(n, source=f"s{n % 3}", licence=("MIT", "CC0-1.0", "Apache-2.0")[n % 3]) for n in range(30)]
    plan = make_plan(written={"a": 20}, num_shown=3)
    prompts = list(write_prompts(make_seeds(rows, plan.teacher), plan.teacher, plan, 0))
    assert len(to_table(prompts)) == 40
    seen = set()
    for prompt in prompts:
        commission = read_commission(prompt["target"])
        shown = [json.loads(line) for line in prompt["messages"][1]["content"].splitlines() if line.startswith("{")]
        assert len(shown) == 3
        sources = {row["source"] for row in rows for one in shown if one["question"] == row["messages"][1]["content"]}
        assert sources == {commission.source}
        seen.add((commission.source, commission.licence))
    assert seen == {("s0", "MIT"), ("s1", "CC0-1.0"), ("s2", "Apache-2.0")}


def test_options_of_rows_passed_on_are_counted_and_grades_are_those_that_there_are():
    passed = to_seed(make_row(0, num_options=None))
    graded = [
        make_row(n, prompt=f"How many stars, from 1 to 5, has review {n}?", target=n, num_options=0) for n in (3, 5)
    ]
    assert passed.num_options == 3
    assert list_grades(map(to_seed, graded)) == (3, 5)
    assert list_grades([passed]) == ()


def test_a_larger_quota_asks_what_a_smaller_one_did_and_more():
    rows = [make_row(n) for n in range(30)]
    small, large = (make_plan(written={"a": quota}) for quota in (10, 15))
    few, many = (list(write_prompts(make_seeds(rows, p.teacher), p.teacher, p, 0)) for p in (small, large))
    assert few == many[:20]
    assert len(many) == 30


def test_from_the_second_round_on_one_row_shown_is_the_teachers_own():
    rows = [make_row(n) for n in range(30)]
    plan = make_plan(written={"a": 10}, rounds=2)
    seeds = make_seeds(rows, plan.teacher)
    first = list(write_prompts(seeds, plan.teacher, plan, 0))
    own = make_row(99, prompt=CHOICE.replace("tea", "cocoa"), made="written")
    seeds.add_own([own])
    second = list(write_prompts(seeds, plan.teacher, plan, 1))
    assert len(first) == len(second) == 10
    assert not any("cocoa" in prompt["messages"][1]["content"] for prompt in first)
    assert all(prompt["messages"][1]["content"].count("cocoa") == 1 for prompt in second)


def test_reasoning_and_translations_are_asked_without_giving_the_answer_away_or_too_much():
    rows = [make_row(n) for n in range(8)]
    plan = make_plan(written={}, reasoned={"a": 2}, translated={"a": 2}, languages=["de", "it"])
    seeds = make_seeds(rows, plan.teacher)
    reasoned = list(reason_prompts(seeds, plan.teacher, plan))
    assert len(reasoned) == 4
    answer = get_task("multiple_choice").format_target(1)
    assert all(f'"answer": "{answer}"' not in prompt["messages"][1]["content"] for prompt in reasoned)
    translated = list(translate_prompts(seeds, plan.teacher))
    assert [read_commission(prompt["target"]).language for prompt in translated] == ["de", "it", "de", "it"]
    assert "German" in translated[0]["messages"][1]["content"]
    assert all("answer" not in json.loads(prompt["messages"][1]["content"].splitlines()[-1]) for prompt in translated)


# Judge, quotas, recipe


def test_the_judge_decides_by_a_number_and_no_number_is_no_praise():
    judge = JudgeSection(min_score=4)
    answers = {"5": None, "Rating: 4/5": None, "3": TOO_LOW, "great": UNREADABLE, "10": UNREADABLE, "4.5": None}
    for text, verdict in answers.items():
        assert read_verdict({"prediction": encode(text), "error": None}, judge) == verdict
    assert read_verdict({"prediction": None, "error": "engine: dead"}, judge) == UNREADABLE
    rows = [make_row(0), make_row(1), make_row(2, removed="x"), make_row(3)]
    table = pa.Table.from_pylist(rows, schema=CANDIDATE_SCHEMA)
    found = mark_judged(table, {"0000": None, "0001": TOO_LOW})["removed"].to_pylist()
    assert found == [None, TOO_LOW, "x", UNREADABLE]


def test_a_teachers_rows_have_quotas_of_their_own():
    rows = [make_row(n, route="transformed") for n in range(4)]
    rows += [make_row(n, route="teacher", made="written") for n in range(4)]
    plan = make_plan(written={"a": 3})
    table = pa.Table.from_pylist(rows, schema=CANDIDATE_SCHEMA)
    limits = find_limits([rank_rows(table, plan)], plan)
    removed = mark_surplus(table, limits)["removed"].to_pylist()
    assert removed == [None] * 7 + [OVER_QUOTA]


def make_config(folder, **teacher):
    (folder / "shop.jsonl").write_text('{"id": "1", "name": "Mug"}')
    source = {"shop": {"format": "products", "path": "shop.jsonl", "licence": "MIT"}}
    recipe = {"sources": source, "subtasks": [{"name": "title_generation", "source": "shop"}]}
    recipe |= {"teacher": teacher} if teacher else {}
    return Config.model_validate({"name": "run", "data": {"root": str(folder)}, "instructions": recipe})


def test_a_recipe_says_what_a_teacher_cannot_do(tmp_path):
    with pytest.raises(UserError, match="no sub-task `titel_generation`; did you mean `title_generation`"):
        plan_recipe(make_config(tmp_path, written={"titel_generation": 1}))
    with pytest.raises(UserError, match="xh cannot be checked"):
        plan_recipe(make_config(tmp_path, translated={"title_generation": 1}, languages=["xh"]))
    with pytest.raises(ValueError, match="nothing to do"):
        make_config(tmp_path, engine="vllm")
    with pytest.raises(ValueError, match="needs `languages`"):
        make_config(tmp_path, translated={"title_generation": 1})


def test_a_teacher_changes_the_recipe_and_no_choice_that_is_not_its_own(tmp_path):
    alone, taught = (plan_recipe(make_config(tmp_path, **t)) for t in ({}, {"written": {"title_generation": 1}}))
    assert alone.digest != taught.digest
    assert alone.drawn_by == taught.drawn_by == alone.digest

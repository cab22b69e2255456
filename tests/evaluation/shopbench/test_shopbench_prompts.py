"""Strategies: what the model is asked, which depends on the question's text and on nothing else of it."""

import inspect

import pyarrow as pa
import pytest

from eshop_ray.config import Config, PromptStrategy
from eshop_ray.config.shopbench import PromptExample
from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.engine_model import EngineModel
from eshop_ray.evaluation.shopbench.prompts import CONCLUDE, REMINDERS, THINK, build_prompt, collect_examples
from eshop_ray.evaluation.shopbench.task_types import TASK_TYPES
from eshop_ray.schema import decode
from eshop_ray.tasks import get_task

SUM = "A pack of 6 holds 9 ounces each. What is the total weight?\n0. 8 ounce\n1. 54 ounce\nAnswer:"
CHOICE = "Which keeps rain off?\n0. lamp\n1. tent\nAnswer:"


class FakeEngine:
    """Stands for an engine's stage: answers each conversation with its last words, and remembers all of them."""

    def __init__(self, fail_on=None):
        self.asked = []
        self.fail_on = fail_on

    def open(self):
        return self

    async def __call__(self, block):
        rows = block.to_pylist()
        self.asked += rows
        texts = [row["messages"][-1]["content"].splitlines()[-1] for row in rows]
        fails = [bool(self.fail_on and self.fail_on in row["messages"][-1]["content"]) for row in rows]
        errors = [row["error"] or ("engine: rejected" if fails[place] else None) for place, row in enumerate(rows)]
        answers = [None if error else text for text, error in zip(texts, errors, strict=True)]
        columns = {"generated_text": pa.array(answers, pa.string()), "error": pa.array(errors, pa.string())}
        return pa.table(columns)


def ask(strategy, *prompts, engine=None, examples=None):
    engine = engine or FakeEngine()
    model = EngineModel(engine, strategy, examples or {})
    answers = model.batch_predict({"prompt": list(prompts)}, False)
    return answers, engine.asked[1:], model


def test_plain_prompt_is_the_question_under_its_tasks_instruction_and_constraint():
    prompt = build_prompt(CHOICE, PromptStrategy(), {}, 0.0)
    assert prompt.messages == [
        {"role": "system", "content": get_task("multiple_choice").instruction},
        {"role": "user", "content": CHOICE},
    ]
    assert prompt.sampling_params == {
        "temperature": 0.0,
        "max_tokens": get_task("multiple_choice").max_tokens,
        "structured_outputs": {"choice": ["0", "1"]},
    }


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("Rank the products.\n1. a\n2. b\n3. c\nOutput:", {"regex": "[1-3](,[1-3]){2}"}),
        ("Rank the products.\n1. a\n2. b\n3. c\n4. d\n5. e\nOutput:", {"regex": "[1-5](,[1-5]){4}"}),
        ("Is it so? Only output yes or no.", {"choice": ["no", "yes"]}),
        ("Explain the product type Tutu.", None),
    ],
)
def test_decoding_is_held_to_what_the_inferred_type_declares(text, output):
    assert build_prompt(text, PromptStrategy(), {}, 0.0).sampling_params.get("structured_outputs") == output
    assert "structured_outputs" not in build_prompt(text, PromptStrategy(constrained=False), {}, 0.0).sampling_params


def test_prefix_examples_and_reminder_stand_where_they_belong():
    strategy = PromptStrategy(
        system_prefix="You know products.",
        examples=(
            {"prompt": "Which floats?\n0. rock\n1. cork\nAnswer:", "answer": "1"},
            {"prompt": "Explain: mug", "answer": "A cup."},
        ),
        format_reminder=True,
    )
    examples = collect_examples(Config(name="bench"), strategy, ())
    system, *turns = build_prompt(CHOICE, strategy, examples, 0.0).messages
    assert system["content"] == f"You know products. {get_task('multiple_choice').instruction}"
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"] == f"Which floats?\n0. rock\n1. cork\nAnswer:\n{REMINDERS['multiple_choice']}"
    assert turns[1]["content"] == "1"
    assert turns[2]["content"] == f"{CHOICE}\n{REMINDERS['multiple_choice']}"


def test_every_type_has_a_reminder():
    assert set(REMINDERS) == set(TASK_TYPES)


def test_examples_of_a_file_are_never_questions_that_are_asked(load, write_file, rows):
    path = write_file(rows)
    config = Config(name="bench")
    questions = load(rows).questions
    asked = [one for one in questions if one.group == "choices"][:4]
    examples = collect_examples(config, PromptStrategy(examples_path=path, num_examples=2), asked)
    shown = {example.prompt for some in examples.values() for example in some}
    assert {task_type: len(some) for task_type, some in examples.items()} == dict.fromkeys(
        ("multiple_choice", "ner", "retrieval", "ranking", "generation"), 2
    )
    assert not shown & {question.prompt for question in asked}
    assert next(one.answer for one in examples["ranking"]) == "1,3,2,4,5"
    all_but_one = [one for one in questions if one.group != "orders"] + [
        one for one in questions if one.group == "orders"
    ][1:]
    with pytest.raises(UserError, match="only 1 question of type ranking that is not asked, fewer than"):
        collect_examples(config, PromptStrategy(examples_path=path, num_examples=2), all_but_one)


@pytest.mark.parametrize("half", [{"num_examples": 2}, {"examples_path": "train.jsonl"}])
def test_half_of_what_examples_take_is_refused(half):
    with pytest.raises(ValueError, match="go together"):
        PromptStrategy(**half)


def test_sums_are_thought_about_first_and_then_answered_within_the_options():
    answers, asked, _ = ask(PromptStrategy(chain_of_thought=True, max_thought_tokens=99), SUM, CHOICE)
    thought, sum_row, choice_row = asked
    assert thought["messages"] == [{"role": "user", "content": f"{SUM}\n{THINK}"}]
    assert decode(thought["sampling_params"]) == {"temperature": 0.0, "max_tokens": 99}
    assert [turn["content"] for turn in sum_row["messages"][1:]] == [f"{SUM}\n{THINK}", THINK, CONCLUDE]
    assert decode(sum_row["sampling_params"])["structured_outputs"] == {"choice": ["0", "1"]}
    assert choice_row["messages"][-1]["content"] == CHOICE
    assert answers == [CONCLUDE, "Answer:"]


def test_thought_is_free_of_what_asks_for_an_answer_at_once():
    strategy = PromptStrategy(chain_of_thought=True, system_prefix="Be exact.")
    examples = {"multiple_choice": (PromptExample(prompt="Which?", answer="1"),)}
    _, (thought, answer), _ = ask(strategy, SUM, examples=examples)
    assert [turn["content"] for turn in thought["messages"]] == ["Be exact.", f"{SUM}\n{THINK}"]
    contents = [turn["content"] for turn in answer["messages"]]
    assert contents == [
        f"Be exact. {get_task('multiple_choice').instruction}",
        *("Which?", "1", f"{SUM}\n{THINK}", THINK, CONCLUDE),
    ]


def test_question_without_an_answer_is_told():
    answers, _, model = ask(PromptStrategy(), CHOICE, SUM, engine=FakeEngine(fail_on="total"))
    assert answers == ["Answer:", ""]
    assert model.errors == {SUM: "engine: rejected"}
    _, _, model = ask(PromptStrategy(chain_of_thought=True), CHOICE, SUM, engine=FakeEngine(fail_on=THINK))
    assert model.errors == {SUM: "engine: rejected"}


def test_prompts_know_nothing_but_the_text(load, rows):
    """A file that says otherwise of type, metric, answer and task name is asked the same."""
    lied = [{**row, "task_type": "generation", "metric": "bleu", "output_field": "x", "task_name": "t"} for row in rows]
    hidden = [{"input_field": row["input_field"], "is_multiple_choice": row["is_multiple_choice"]} for row in rows]
    strategy = PromptStrategy(format_reminder=True, chain_of_thought=True)
    asked = [
        ask(strategy, *(question.prompt for question in load(some, shopbench={"tracks": {"t": 1}}).questions))[1]
        for some in (rows, lied, hidden)
    ]
    assert asked[0] == asked[1] == asked[2]
    assert next(iter(inspect.signature(build_prompt).parameters)) == "text"

import pyarrow as pa
import pytest

from eshop_ray.data.prompts import PromptSettings, add_prompts, build_prompt
from eshop_ray.schema import PROMPT_SCHEMA, RECORD_SCHEMA, decode, encode
from eshop_ray.tasks import get_task

CHOICE = {"question": "What is a thermos?", "options": ["A bottle", "A tent"]}


def row(task="multiple_choice", fields=CHOICE, target=0, **more):
    record = {"id": "1", "task": task, "group": None, "metric": None}
    return {**record, "target": encode(target), "fields": encode(fields), **more}


def build(*args, temperature=0.0, constrained=True, **more):
    return build_prompt(row(*args, **more), PromptSettings(temperature, constrained))


def test_record_becomes_messages_and_sampling_params():
    prompt = build(temperature=0.5)
    assert prompt["messages"] == get_task("multiple_choice").build_messages(CHOICE)
    assert decode(prompt["sampling_params"]) == {
        "temperature": 0.5,
        "max_tokens": 4,
        "structured_outputs": {"choice": ["0", "1"]},
    }
    assert (prompt["target"], prompt["group"], prompt["metric"]) == ("0", "multiple_choice", "accuracy")


def test_row_wins_over_its_task():
    prompt = build(group="quiz", metric="hit rate@3")
    assert (prompt["group"], prompt["metric"]) == ("quiz", "hit rate@3")


@pytest.mark.parametrize(("task", "fields"), [("multiple_choice", CHOICE), ("generation", {"prompt": "Hello"})])
def test_decoding_is_free_when_asked_or_undeclared(task, fields):
    prompt = build(task, fields, constrained=task != "multiple_choice")
    assert "structured_outputs" not in decode(prompt["sampling_params"])


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (row(fields={"question": "Which?"}), "prompt: KeyError: 'options'"),
        (row(fields=None), "prompt: TypeError"),
        (row(task="multiple_chioce"), "did you mean `multiple_choice`?"),
        (row("generation", {"prompt": "half a character: \ud83d"}), "prompt: UnicodeEncodeError"),
    ],
)
def test_record_without_a_prompt_keeps_its_row(broken, error):
    prompt = build_prompt(broken)
    assert error in prompt["error"]
    assert (prompt["id"], prompt["target"]) == ("1", "0")
    pa.Table.from_pylist([prompt], schema=PROMPT_SCHEMA)


def test_failed_rows_stay_in_the_dataset(ray_session):
    rows = [row(id="good"), row(id="bad", fields={})]
    records = ray_session.data.from_arrow(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA))
    prompts = add_prompts(records).take_all()
    assert all(set(prompt) == set(PROMPT_SCHEMA.names) for prompt in prompts)
    assert {prompt["id"]: prompt["error"] for prompt in prompts} == {
        "good": None,
        "bad": "prompt: KeyError: 'question'",
    }

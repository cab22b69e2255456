"""A teacher's answers are kept as they come: what was asked once is never asked again, whoever ended the build."""

from contextlib import nullcontext

import pyarrow as pa
import pytest

from eshop_ray.config import Config
from eshop_ray.config.teacher import TeacherSection
from eshop_ray.data.instructions.teacher.commission import to_table, write_prompt
from eshop_ray.errors import UserError
from eshop_ray.inference import teacher as module
from eshop_ray.inference.reading import read_text
from eshop_ray.inference.teacher import hire_teacher, open_teacher
from eshop_ray.schema import PREDICTION_SCHEMA, decode, encode
from tests.data.near_duplicates.in_process import Tables

ENDPOINT = {"base_url": "http://127.0.0.1:9/v1", "model": "small", "max_concurrent_requests": 4}


class Stream:
    """Blocks that are answered and kept one after the other, as those of a dataset are."""

    def __init__(self, tables):
        self.tables = tables

    def map_batches(self, function, **_):
        return Stream(map(function, self.tables))

    def iter_rows(self):
        return (row for table in self.tables for row in table.to_pylist())


class Engine:
    """Answers each prompt with its question, and notes it; it dies after so many blocks."""

    def __init__(self, blocks=1000, fails=()):
        self.blocks, self.fails, self.asked, self.params = blocks, fails, [], []

    def __call__(self, prompts):
        return Stream(map(self.answer, prompts.tables))

    def answer(self, table):
        self.blocks -= 1
        if self.blocks < 0:
            raise KeyboardInterrupt
        rows = []
        for row in table.to_pylist():
            text = row["messages"][-1]["content"]
            self.asked.append(text)
            self.params.append(decode(row["sampling_params"]))
            told = {"generated_text": text, "finish_reason": "stop", "num_input_tokens": 1, "num_generated_tokens": 1}
            error = "engine: dead" if text in self.fails else None
            prediction = None if error else read_text({"generated_text": text}).prediction
            rows.append({**row, **told, "prediction": prediction, "error": error})
        return pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """Return a function that asks some questions of an engine in one build of a recipe."""
    monkeypatch.setattr(module, "map_items", lambda read, items: Tables(t for item in items for t in read(item)))
    monkeypatch.setattr(module.ray.data, "from_arrow", lambda table: Tables([table]))
    monkeypatch.setattr(module, "use_endpoint", lambda *_: nullcontext())

    def ask(engine, texts, model="small", **infer):
        monkeypatch.setattr(module, "build_engine", lambda *_, **__: engine)
        config = Config.model_validate({"name": "run", "run_root": str(tmp_path), "openai": ENDPOINT, "infer": infer})
        section = TeacherSection(engine="openai", model=model, written={"a": 1})
        turns = ([{"role": "user", "content": text}] for text in texts)
        limits = {"max_tokens": 8, "structured_outputs": {"choice": ["1"]}}
        prompts = to_table(write_prompt(turn, limits, f"about {turn[0]['content']}", "a") for turn in turns)
        with open_teacher(hire_teacher(config, section)) as teacher:
            rows = list(teacher.ask(prompts, "for tests").iter_rows())
        return {row["target"]: row["prediction"] for row in rows}

    return ask


TEXTS = [f"question {number}" for number in range(20)]
ANSWERS = {f"about {text}": encode(text) for text in TEXTS}


def test_a_build_that_was_killed_asks_only_what_was_not_answered(ask):
    killed, later, third = Engine(blocks=3), Engine(), Engine()
    with pytest.raises(KeyboardInterrupt):
        ask(killed, TEXTS)
    assert len(killed.asked) == 12
    assert ask(later, TEXTS) == ANSWERS
    assert sorted(killed.asked + later.asked) == sorted(TEXTS)
    assert ask(third, TEXTS) == ANSWERS
    assert third.asked == []


def test_another_recipe_asks_what_is_new_and_gets_no_more_than_it_asked(ask):
    ask(Engine(), TEXTS)
    engine = Engine()
    assert len(ask(engine, [*TEXTS[:3], "new"])) == 4
    assert engine.asked == ["new"]


def test_another_teacher_is_asked_everything(ask):
    ask(Engine(), TEXTS)
    engine = Engine()
    assert ask(engine, TEXTS, model="large") == ANSWERS
    assert len(engine.asked) == 20


def test_what_failed_is_no_answer_now_and_is_asked_again_later(ask):
    found = ask(Engine(fails=TEXTS[:2]), TEXTS)
    assert [about for about, answer in found.items() if answer is None] == [f"about {text}" for text in TEXTS[:2]]
    engine = Engine()
    assert ask(engine, TEXTS) == ANSWERS
    assert sorted(engine.asked) == TEXTS[:2]


def test_a_teacher_that_hardly_answers_ends_the_build_and_what_it_answered_is_kept(ask):
    with pytest.raises(UserError, match=r"no answer to 18 of 20 questions.*18 x engine"):
        ask(Engine(fails=TEXTS[2:]), TEXTS)
    engine = Engine()
    assert ask(engine, TEXTS) == ANSWERS
    assert sorted(engine.asked) == sorted(TEXTS[2:])


def test_answers_are_free_where_the_config_says_so(ask):
    held, free = Engine(), Engine()
    ask(held, TEXTS[:1])
    ask(free, TEXTS[:1], constrained=False)
    assert held.params == [{"max_tokens": 8, "structured_outputs": {"choice": ["1"]}}]
    assert free.params == [{"max_tokens": 8}]


def test_the_name_on_rows_tells_the_model_and_no_address():
    config = Config.model_validate({"name": "run", "openai": ENDPOINT})
    section = TeacherSection(engine="openai", model="large", written={"a": 1})
    hired = hire_teacher(config, section)
    assert hired.name.startswith("large@")
    assert "127" not in hired.name
    assert hired.config.infer.engine == "openai"
    assert config.infer.engine == "vllm"
    with pytest.raises(UserError, match=r"needs `openai.base_url`"):
        hire_teacher(Config(name="run"), section)

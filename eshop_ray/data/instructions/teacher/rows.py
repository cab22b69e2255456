"""A teacher's answers -> candidates: each answer one row, marked where it is no use."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pyarrow as pa

from eshop_ray.config.teacher import TeacherSection
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.instructions.candidates import CANDIDATE_SCHEMA, MULTILINGUAL, TEACHER
from eshop_ray.data.instructions.draw import make_draw, rank_of
from eshop_ray.data.instructions.foreign import FOREIGN
from eshop_ray.data.instructions.material import fold
from eshop_ray.data.instructions.plan import SOURCE_LANGUAGE, Plan
from eshop_ray.data.instructions.render import Rendered, UnaskableError, build_messages
from eshop_ray.data.instructions.teacher.answers import comes_to, settle
from eshop_ray.data.instructions.teacher.commission import REASONED, TRANSLATED, WRITTEN, Commission, read_commission
from eshop_ray.data.instructions.teacher.prompts import ANSWER, OPEN_TASKS, QUESTION, REASONING
from eshop_ray.data.instructions.teacher.seeds import measure
from eshop_ray.data.instructions.teacher.translations import check_kept
from eshop_ray.data.instructions.text_keys import list_keys
from eshop_ray.data.language import LANGUAGES, identify
from eshop_ray.data.text_cleaning.control import strip_control
from eshop_ray.schema import Message, Row, content_id, decode, encode, is_text
from eshop_ray.tasks import get_task

NO_ANSWER = "the teacher gave no answer"
CUT_OFF = "the teacher's answer is cut off"
NO_FORM = "the teacher's answer is not in the form that it was asked for"
TOO_SHORT, TOO_LONG = "a teacher's row is too short", "a teacher's row is too long"
OTHER_ANSWER = "the teacher's reasoning comes to another answer"
REASON_FIRST = "Think step by step, then give the answer."
"""Ends the question of a row with reasoning: without it the answer alone is asked for."""


def read_answers(table: pa.Table, plan: Plan, teacher: str) -> pa.Table:
    """Return a row of `CANDIDATE_SCHEMA` for each answer.

    Args:
        table: Columns of `PREDICTION_SCHEMA`, of prompts that `build_prompt` wrote.
        plan: The recipe.
        teacher: Its name.
    """
    assert plan.teacher
    rows = [_read_row(answer, plan, plan.teacher, teacher) for answer in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=CANDIDATE_SCHEMA)


def _read_row(answer: Row, plan: Plan, section: TeacherSection, teacher: str) -> Row:
    commission = read_commission(answer["target"])
    text = decode(answer["prediction"]) or ""
    row = {**_start(answer["id"], commission, plan), "teacher": teacher}
    try:
        _check_ended(answer)
        settled, messages = make_row(commission, text, make_draw(plan.seed, plan.drawn_by, answer["id"], "order"))
        _check_size(messages, section)
        _check_language(commission, messages)
    except UnaskableError as error:
        shown = [{"role": "user", "content": text if is_text(text) else ""}]
        return {**row, "removed": str(error), "target": encode(None), "content": content_id(text), "messages": shown}
    prompt = messages[1]["content"]
    return {
        **row,
        "target": encode(settled.target),
        "messages": messages,
        "content": content_id(fold(prompt)),
        "compared": settled.prompt,
        "position": settled.position,
        "num_options": settled.num_options,
        "keys": list(commission.keys) or list(list_keys(settled.prompt, messages[2]["content"])),
    }


def _start(row_id: str, commission: Commission, plan: Plan) -> Row:
    is_reasoned = commission.made == REASONED
    return {
        "id": row_id,
        "task": "generation" if is_reasoned else commission.task,
        "metric": "rougel" if is_reasoned else _choose_metric(commission),
        "group": commission.group,
        "split": TRAIN,
        "source": commission.source,
        "licence": commission.licence,
        "language": commission.language,
        "route": MULTILINGUAL if commission.made == TRANSLATED else TEACHER,
        "seed": plan.seed,
        "recipe_digest": plan.digest,
        "within": "",
        "rank": rank_of(plan.seed, plan.drawn_by, row_id),
        "made": commission.made,
    }


def _choose_metric(commission: Commission) -> str:
    is_foreign = commission.language != SOURCE_LANGUAGE
    is_similarity = commission.metric == "sent-transformer"
    return "multilingual-sent-transformer" if is_foreign and is_similarity else commission.metric


def make_row(commission: Commission, text: str, draw: Random) -> tuple[Rendered, list[Message]]:
    """Return what a teacher's answer comes to, and its conversation.

    Raises:
        UnaskableError: if it is no use; the message is the reason, as the card counts it.
    """
    if commission.made == REASONED:
        reasoning, answer = read_fields(text, (REASONING, ANSWER))
        if not comes_to(commission, answer):
            raise UnaskableError(OTHER_ANSWER)
        known = get_task(commission.task).format_target(commission.target)
        settled = Rendered(f"{commission.question}\n{REASON_FIRST}", f"{reasoning}\nAnswer: {known}")
        return settled, build_messages("generation", settled.prompt, settled.target)
    settled = (
        _settle_translation(commission, text) if commission.made == TRANSLATED else _settle_new(commission, text, draw)
    )
    return settled, build_messages(commission.task, settled.prompt, settled.target)


def _settle_new(commission: Commission, text: str, draw: Random) -> Rendered:
    question, answer = read_fields(text, (QUESTION, ANSWER))
    return settle(commission, question, answer, draw)


def _settle_translation(commission: Commission, text: str) -> Rendered:
    """Return a row in another language: options keep their places, and answers that are numbers stay."""
    if commission.task not in OPEN_TASKS:
        (question,) = read_fields(text, (QUESTION,))
        check_kept(commission.question, question)
        position = commission.target if commission.task == "multiple_choice" and commission.num_options else None
        return Rendered(question, commission.target, position, commission.num_options)
    question, answer = read_fields(text, (QUESTION, ANSWER))
    check_kept(commission.question, question)
    check_kept(get_task(commission.task).format_target(commission.target), answer)
    settled = settle(commission, question, answer, Random(0))
    if commission.task == "ner" and len(settled.target) != len(commission.target):
        raise UnaskableError("a translation has other entities")
    return settled


def read_fields(text: str, names: Sequence[str]) -> list[str]:
    """Return the texts of a JSON object in an answer; numbers are taken as they are written.

    Raises:
        UnaskableError: if there is no such object, or a text is missing or empty.
    """
    start = text.find("{")
    try:
        values, _ = json.JSONDecoder(strict=False).raw_decode(text, start) if start >= 0 else ({}, 0)
    except (ValueError, RecursionError):
        values = {}
    found = [_to_text(values.get(name)) for name in names] if isinstance(values, dict) else [""]
    if not all(found):
        raise UnaskableError(NO_FORM)
    return found


def _to_text(value: Any) -> str:
    """Return what stands in a field: text, a number, or a list of these, as parsers read it."""
    if isinstance(value, list) and not all(isinstance(one, str | int) for one in value):
        return ""
    if isinstance(value, list):
        value = repr(value) if any(isinstance(one, str) for one in value) else ",".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return strip_control(value).strip() if isinstance(value, str) and is_text(value) else ""


def _check_ended(answer: Row) -> None:
    if answer["error"] is not None:
        raise UnaskableError(NO_ANSWER)
    if answer["finish_reason"] == "length":
        raise UnaskableError(CUT_OFF)


def _check_size(messages: Sequence[Message], section: TeacherSection) -> None:
    size = measure(messages)
    if not section.min_characters <= size <= section.max_characters:
        raise UnaskableError(TOO_SHORT if size < section.min_characters else TOO_LONG)


def _check_language(commission: Commission, messages: Sequence[Message]) -> None:
    """Refuse a row in another language; a new question in a language may quote titles in English, as others do."""
    if commission.language not in LANGUAGES or commission.made == REASONED:
        return
    (found,) = identify(["\n".join(turn["content"] for turn in messages if turn["role"] != "system")], LANGUAGES)
    allowed = {commission.language} | ({SOURCE_LANGUAGE} if commission.made == WRITTEN else set())
    if found not in allowed:
        raise UnaskableError(FOREIGN)

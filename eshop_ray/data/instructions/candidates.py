"""A bucket of material -> candidate rows: the decisions for one bucket, without Ray."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from eshop_ray.config import SubtaskSection
from eshop_ray.data.instructions.builders import get_subtask
from eshop_ray.data.instructions.draw import RANKS, make_draw, rank_of
from eshop_ray.data.instructions.likeness import compare_instruction, compare_question
from eshop_ray.data.instructions.material import Instruction, Judgement, Material, Search, fold, write_material
from eshop_ray.data.instructions.plan import DEV, UNSEEN, Plan, is_trained, list_splits, takes
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Question, Subtask
from eshop_ray.data.instructions.render import (
    Rendered,
    UnaskableError,
    build_messages,
    choose_language,
    choose_metric,
    render,
    task_of,
)
from eshop_ray.data.instructions.shares import Shares
from eshop_ray.data.instructions.text_keys import list_keys, list_said
from eshop_ray.schema import INSTRUCTION_SCHEMA, Row, content_id, encode
from eshop_ray.tasks import get_task
from eshop_ray.tasks.multiple_choice import TASK as CHOICE
from eshop_ray.tasks.multiple_choice import read_choice

CANDIDATE_SCHEMA = pa.schema(
    [
        *INSTRUCTION_SCHEMA,
        ("keys", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
        ("content", pa.string()),
        ("compared", pa.string()),
        ("within", pa.string()),
        ("rank", pa.int64()),
        ("position", pa.int32()),
        ("num_options", pa.int32()),
        ("made", pa.string()),
        ("removed", pa.string()),
    ]
)
"""Rows on their way. `keys` are the products and queries that a row speaks of, `texts` the keys of what it says word
for word, `content` is what is asked, `compared` what must not nearly be asked twice among rows of one `within`, `rank`
its place in the order by which quotas choose, `made` how a teacher made it, if one did, `removed` why it does not
stay."""

TRANSFORMED = "transformed"
MULTILINGUAL = "multilingual"
PASSED_ON = "passed_on"
TEACHER = "teacher"


@dataclass(frozen=True, slots=True)
class Context:
    """What a bucket has to know beside its material."""

    plan: Plan
    shares: Shares
    """Of the material of each sub-task and split; all of what is not named."""


def build_candidates(source: str, material: Iterable[Material], context: Context) -> Iterator[Row]:
    """Yield the rows of a bucket, columns of `CANDIDATE_SCHEMA`, those that must not be asked with their reason.

    The same material gives the same rows, in whatever order it comes.
    """
    entries = [entry for entry in context.plan.entries if source in entry.sources]
    sides: dict[bool, list[Material]] = {False: [], True: []}
    for one in assemble(material):
        is_held = is_held_out(one, context.plan)
        for side in (False, True):
            if one.IS_VOCABULARY or side == is_held:
                sides[side].append(one)
    for side, own in sides.items():
        pool = Pool(own)
        for one in sorted(own, key=lambda one: (type(one).__name__, one.id)):
            if is_held_out(one, context.plan) == side:
                for entry in entries:
                    split = _find_split(entry, side)
                    if split and takes(entry, type(one)) and _is_drawn(one, entry, source, split, context):
                        yield from _build_rows(one, pool, entry, source, split, context.plan)


def assemble(material: Iterable[Material]) -> list[Material]:
    """Return material without repeats, and with what several pieces make together: a query's judgements a `Search`.

    Of several pieces with one id the first by content stays, whichever came first.
    """
    distinct: dict[tuple[str, str], Material] = {}
    for one in material:
        key = (type(one).__name__, one.id)
        other = distinct.get(key)
        distinct[key] = one if other is None else min(other, one, key=write_material)
    judged: defaultdict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for one in sorted(distinct.values(), key=lambda one: one.id):
        if isinstance(one, Judgement):
            judged[one.department, one.language].append(one)
    searches = [
        Search(
            id=content_id(department, language),
            language=language,
            query=own[0].query,
            results=tuple((one.title, one.label) for one in own),
        )
        for (department, language), own in judged.items()
    ]
    return [*distinct.values(), *searches]


def is_held_out(one: Material, plan: Plan) -> bool:
    """Whether material is of the evaluation's side: what its first key, a product or a query, is drawn by."""
    return rank_of("side", plan.seed, one.keys[0]) < plan.eval_share * RANKS


def _find_split(entry: SubtaskSection, is_held: bool) -> str | None:
    """Return the split of an entry's rows of one side, None where it makes none of that."""
    return next((split for split in list_splits(entry) if is_trained(split) != is_held), None)


def _is_drawn(one: Material, entry: SubtaskSection, source: str, split: str, context: Context) -> bool:
    """Whether an entry takes a piece of material; a larger share takes all that a smaller one does, and more."""
    plan, share = context.plan, context.shares.get((entry.name, split), 1.0)
    return rank_of(plan.seed, plan.drawn_by, entry.name, source, one.id) < share * RANKS


def _build_rows(one: Material, pool: Pool, entry: SubtaskSection, source: str, split: str, plan: Plan) -> Iterator[Row]:
    """Yield the rows that a sub-task makes of a piece of material."""
    subtask = get_subtask(entry.name)
    start = {"group": entry.name, "source": source, "licence": plan.sources[source].licence, "split": split}
    # Two entries may ask the same of the same: rows of a split that one of them names have ids of their own.
    named = (entry.name, source, *filter(None, [entry.split]))
    if isinstance(one, Instruction) and Instruction not in subtask.takes:
        yield _pass_on(one, start, content_id(*named, "Instruction", one.department, one.id), plan)
        return
    questions = subtask.build(one, pool, make_draw(plan.seed, plan.drawn_by, entry.name, source, one.id))
    for number, question in enumerate(questions):
        row_id = content_id(*named, type(one).__name__, one.department, one.id, str(number))
        draw = make_draw(plan.seed, plan.drawn_by, row_id, "language")
        keys = list(dict.fromkeys((*(() if one.IS_VOCABULARY else one.keys), *question.keys)))
        try:
            language = choose_language(question, subtask, entry.languages, one.language, draw)
        except UnaskableError as error:
            yield _refuse(row_id, question, {**start, "language": one.language, "keys": keys}, error, plan)
            continue
        shared = {**start, "language": language, "keys": keys, "texts": list(list_said(question))}
        yield _ask(row_id, question, subtask, shared, plan)
        if split == DEV:
            yield _ask(row_id, question, subtask, {**shared, "split": UNSEEN}, plan)


def _ask(row_id: str, question: Question, subtask: Subtask, start: Row, plan: Plan) -> Row:
    """Return the row of a question in one of the wordings of its split."""
    language, is_unseen = start["language"], start["split"] == UNSEEN
    num_seen = len(subtask.wordings[language]) - 1
    draw = make_draw(plan.seed, plan.drawn_by, row_id, "wording")
    wording = -1 if is_unseen else draw.randrange(num_seen)
    task = task_of(question)
    metric = question.metric or choose_metric(subtask.metric or get_task(task).metric, language)
    row = {
        **start,
        "id": unseen_id(row_id) if is_unseen else row_id,
        "task": task,
        "metric": metric,
        "route": TRANSFORMED if language == "en" else MULTILINGUAL,
    }
    row |= compare_question(row["group"], question)
    try:
        rendered = render(question, subtask, language, wording, make_draw(plan.seed, plan.drawn_by, row_id, "order"))
    except UnaskableError as error:
        return _refuse(row_id, question, row, error, plan)
    return {**_finish(row, row_id, rendered, plan), "messages": build_messages(task, rendered.prompt, rendered.target)}


def _refuse(row_id: str, question: Question, row: Row, error: UnaskableError, plan: Plan) -> Row:
    """Return the row of a question that must not be asked, with what it would have been about."""
    shown = Rendered(" | ".join(question.values.values()), None)
    return {"id": row_id, **_finish(row, row_id, shown, plan), "removed": str(error)}


def unseen_id(row_id: str) -> str:
    """Return the id of a row of `dev` in its unseen wording."""
    return content_id(row_id, UNSEEN)


def _pass_on(one: Instruction, start: Row, row_id: str, plan: Plan) -> Row:
    metric = choose_metric(one.metric or get_task(one.task).metric, one.language)
    row = {**start, "id": row_id, "task": one.task, "metric": metric}
    row |= {"language": one.language, "route": PASSED_ON, "keys": list(one.keys)}
    row["texts"] = list(list_keys(one.prompt, get_task(one.task).format_target(one.target)))
    row |= compare_instruction(row["group"], one)
    rendered = Rendered(one.prompt, one.target, *_find_place(one))
    return {**_finish(row, row_id, rendered, plan), "messages": build_messages(one.task, one.prompt, one.target)}


def _find_place(one: Instruction) -> tuple[int | None, int]:
    """Return where the right option of a row that is passed on stands, and how many there are, if that can be read."""
    found = read_choice(one.prompt) if one.task == CHOICE.name else None
    if found is None or not 0 <= one.target - found.first < len(found.candidates):
        return None, 0
    return one.target - found.first, len(found.candidates)


def _finish(row: Row, row_id: str, rendered: Rendered, plan: Plan) -> Row:
    return {
        **row,
        "target": encode(rendered.target),
        "content": content_id(fold(rendered.prompt)),
        "rank": rank_of(plan.seed, plan.drawn_by, row_id),
        "position": rendered.position,
        "num_options": rendered.num_options,
        "seed": plan.seed,
        "recipe_digest": plan.digest,
        "messages": [{"role": "user", "content": rendered.prompt}],
    }

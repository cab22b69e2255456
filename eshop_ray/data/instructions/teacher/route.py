"""The teacher's route on one screen: seeds -> prompts -> answers -> rows that pass every test -> candidates."""

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from eshop_ray.config import Config
from eshop_ray.config.cleaning import NearDuplicatesSection
from eshop_ray.data.instructions.candidates import CANDIDATE_SCHEMA
from eshop_ray.data.instructions.decontaminate import Index, mark_contaminated
from eshop_ray.data.instructions.draw import RANKS
from eshop_ray.data.instructions.near_repeats import FOLDER, mark_near_repeats
from eshop_ray.data.instructions.plan import Plan
from eshop_ray.data.instructions.teacher.commission import WRITTEN, Teacher, to_table
from eshop_ray.data.instructions.teacher.judging import judge_rows
from eshop_ray.data.instructions.teacher.prompts import reason_prompts, translate_prompts, write_prompts
from eshop_ray.data.instructions.teacher.rows import read_answers
from eshop_ray.data.instructions.teacher.seeds import Seeds, collect_seeds
from eshop_ray.data.near_duplicates import remove_near_duplicates
from eshop_ray.places import place_of
from eshop_ray.storage import Storage

_EQUAL = NearDuplicatesSection(threshold=1.0)
"""Where a recipe lets near duplicates stay: what a teacher repeats word by word goes all the same."""


def add_taught(rows: Dataset, config: Config, plan: Plan, index: Index, teacher: Teacher) -> Dataset:
    """Return all candidates and those that a teacher makes of them, marked where they do not stay.

    Nothing that it does moves a row of another.

    Args:
        rows: Columns of `CANDIDATE_SCHEMA`, each that repeats another marked.
        config: Of the run.
        plan: Its recipe, which has a teacher.
        index: What evaluation sets ask.
        teacher: Who is asked.
    """
    assert plan.teacher
    seeds = collect_seeds(rows, plan.teacher)
    for number in range(plan.teacher.rounds):
        prompts = _collect_prompts(seeds, plan, number)
        if not prompts.num_rows:
            break
        made = _make_rows(prompts, plan, index, teacher)
        made = _mark_alike(rows, made, config).materialize()
        made = judge_rows(made, plan.teacher.judge, teacher) if plan.teacher.judge else made
        seeds.add_own(made.map_batches(_select_own, batch_format="pyarrow").iter_rows())
        rows = rows.union(made).materialize()
    return rows


def _collect_prompts(seeds: Seeds, plan: Plan, number: int) -> pa.Table:
    """Return the prompts of a round; all but new questions are asked for in the first."""
    assert plan.teacher
    prompts = list(write_prompts(seeds, plan.teacher, plan, number))
    if number == 0:
        prompts += [*reason_prompts(seeds, plan.teacher, plan), *translate_prompts(seeds, plan.teacher)]
    return to_table(prompts)


def _make_rows(prompts: pa.Table, plan: Plan, index: Index, teacher: Teacher) -> Dataset:
    answers = teacher.ask(prompts, "for rows")
    told = {"plan": plan, "teacher": teacher.name}
    rows = answers.map_batches(read_answers, batch_format="pyarrow", fn_kwargs=told)
    return rows.map_batches(mark_contaminated, batch_format="pyarrow", fn_kwargs={"index": index}).materialize()


def _mark_alike(rows: Dataset, made: Dataset, config: Config) -> Dataset:
    """Mark new questions that are nearly those of any other row, whichever is right: of two of the teacher's own the
    first by rank stays.
    """
    storage = Storage(place_of(config.run_dir)).below(FOLDER)
    compared = rows.map_batches(_select_asked, batch_format="pyarrow").union(
        made.map_batches(_select_made, batch_format="pyarrow")
    )
    section = config.instructions.near_duplicates or _EQUAL
    found = remove_near_duplicates(compared, section, storage, "id", "question", "priority")
    going = frozenset(row["id"] for row in found.removed.iter_rows())
    Storage(place_of(config.run_dir)).remove_folder(FOLDER)
    return made.map_batches(mark_near_repeats, batch_format="pyarrow", fn_kwargs={"going": going})


def _select_asked(table: pa.Table) -> pa.Table:
    """Return what stays of all others, evaluation splits too; a question in unseen words is no repetition of itself."""
    return _to_compared(table.filter(pc.is_null(table["removed"])), is_made=False)


def _select_made(table: pa.Table) -> pa.Table:
    is_new = pc.and_(pc.is_null(table["removed"]), pc.equal(table["made"], WRITTEN))
    return _to_compared(table.filter(is_new), is_made=True)


def _to_compared(table: pa.Table, is_made: bool) -> pa.Table:
    questions = [
        next(turn["content"] for turn in turns if turn["role"] == "user") for turns in table["messages"].to_pylist()
    ]
    rank = pc.divide(table["rank"].cast(pa.float64(), safe=False), float(RANKS))
    columns = {
        "id": table["id"],
        "question": pa.array(questions, pa.string()),
        "priority": pc.add(rank, float(is_made)),
    }
    return pa.table(columns)


def _select_own(table: pa.Table) -> pa.Table:
    is_own = pc.and_(pc.is_null(table["removed"]), pc.equal(table["made"], WRITTEN))
    return table.filter(is_own).select(CANDIDATE_SCHEMA.names)

"""The teacher as a judge of what it has made."""

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from eshop_ray.config.teacher import MAX_SCORE, JudgeSection
from eshop_ray.data.instructions.choose import set_removed
from eshop_ray.data.instructions.teacher.commission import Teacher, to_table, write_prompt
from eshop_ray.schema import Row, decode

UNREADABLE = "the judge gives no score"
TOO_LOW = "the judge scores it too low"
_SCORE = re.compile(rf"(?<![\d.,])[1-{MAX_SCORE}](?![\d])")
_MAX_TOKENS = 8


def judge_rows(rows: Dataset, section: JudgeSection, teacher: Teacher) -> Dataset:
    """Return rows with those marked that the teacher thinks little of.

    Args:
        rows: Columns of `CANDIDATE_SCHEMA`; those that are marked already are not judged.
        section: How it judges.
        teacher: Who judges.
    """
    kept = rows.map_batches(_select_kept, batch_format="pyarrow")
    prompts = to_table(write_judgement(row, section) for row in kept.iter_rows())
    if not prompts.num_rows:
        return rows
    answers = teacher.ask(prompts, "for judgements").iter_rows()
    found = {answer["target"]: read_verdict(answer, section) for answer in answers}
    return rows.map_batches(mark_judged, batch_format="pyarrow", fn_kwargs={"found": found}).materialize()


def write_judgement(row: Row, section: JudgeSection) -> Row:
    """Return the prompt about a row, a row of `PROMPT_SCHEMA`."""
    question, answer = (turn["content"] for turn in row["messages"][-2:])
    asked = f"Question:\n{question}\n\nAnswer:\n{answer}\n\nYour rating, 1 to {MAX_SCORE}:"
    turns = [{"role": "system", "content": section.instruction}, {"role": "user", "content": asked}]
    output = {"choice": [str(score) for score in range(1, MAX_SCORE + 1)]}
    params = {"temperature": 0.0, "max_tokens": _MAX_TOKENS, "structured_outputs": output}
    return write_prompt(turns, params, row["id"], row["group"])


def read_verdict(answer: Row, section: JudgeSection) -> str | None:
    """Return why a row goes, None where it stays."""
    text = decode(answer["prediction"]) or "" if answer["error"] is None else ""
    score = _SCORE.search(text)
    if score is None:
        return UNREADABLE
    return None if int(score[0]) >= section.min_score else TOO_LOW


def mark_judged(table: pa.Table, found: Mapping[str, str | None]) -> pa.Table:
    """Mark the rows of a table that a judge has turned down, or never came to judge."""
    pairs = zip(table["id"].to_pylist(), table["removed"].to_pylist(), strict=True)
    return set_removed(table, [removed or found.get(row_id, UNREADABLE) for row_id, removed in pairs])


def _select_kept(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table["removed"])).select(["id", "group", "messages"])

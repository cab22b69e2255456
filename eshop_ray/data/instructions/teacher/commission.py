"""What a teacher is asked, and all that has to be known of it when its answer comes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from ray.data import Dataset

from eshop_ray.schema import PROMPT_SCHEMA, Message, Row, content_id, decode, encode

WRITTEN = "written"
"""A new question with its answer."""
REASONED = "reasoned"
"""A known answer with the thoughts that lead to it."""
TRANSLATED = "translated"
"""A known question with its answer, in another language."""
_PROMPTED = "generation"
"""The task that prompts go under: the columns of prompts want one, and what is read is no task's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """One row that a teacher is to make."""

    made: str
    """`WRITTEN`, `REASONED` or `TRANSLATED`."""
    group: str
    """The sub-task."""
    task: str
    metric: str
    source: str
    licence: str
    language: str
    """That the row is to be in."""
    num_options: int = 0
    """Of the rows that it is made from; 0 where they have none to choose from."""
    grades: tuple[int, ...] = ()
    """Answers that there are to a question without options, such as stars."""
    is_quotable: bool = False
    """Whether the answers of those rows stand in their questions."""
    question: str = ""
    """Of the row that it is made from, if it is one."""
    target: Any = None
    """The same row's."""
    keys: tuple[str, ...] = ()
    """Products and queries of that row."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that is asked; it is never asked the same twice."""

    name: str
    """As rows carry it: the model and a digest of all that its answers depend on."""
    ask: Callable[[pa.Table, str], Dataset]
    """(prompts, columns of `PROMPT_SCHEMA`; what they are, for people) -> answers, columns of `PREDICTION_SCHEMA`,
    `prediction` being the text as JSON. Its blocks come in any order."""


def build_prompt(commission: Commission, messages: Iterable[Message], params: Mapping[str, Any]) -> Row:
    """Return a row of `PROMPT_SCHEMA`; the same commission in the same words has the same id in any run."""
    turns, about = list(messages), encode(asdict(commission))
    return write_prompt(turns, params, about, commission.group)


def write_prompt(messages: list[Message], params: Mapping[str, Any], about: str, group: str) -> Row:
    """Return a row of `PROMPT_SCHEMA`, `target` being what its answer is about."""
    known = dict.fromkeys(PROMPT_SCHEMA.names)
    row_id = content_id(encode(messages), encode(params), about)
    told = {"id": row_id, "task": _PROMPTED, "group": group, "metric": "rougel", "target": about}
    return {**known, **told, "messages": messages, "sampling_params": encode(params)}


def read_commission(about: str) -> Commission:
    """Return what `build_prompt` wrote."""
    values = decode(about)
    return Commission(**{**values, **{name: tuple(values[name]) for name in ("keys", "grades")}})


def to_table(prompts: Iterable[Row]) -> pa.Table:
    """Return prompts as a table, each once."""
    distinct = {prompt["id"]: prompt for prompt in prompts}
    return pa.Table.from_pylist(list(distinct.values()), schema=PROMPT_SCHEMA)

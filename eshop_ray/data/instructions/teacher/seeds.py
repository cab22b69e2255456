"""Rows that a teacher may be shown: clean, learned from, under a licence that allows it, and of no evaluation."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from eshop_ray.config.teacher import TeacherSection
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.instructions.candidates import CANDIDATE_SCHEMA
from eshop_ray.data.instructions.material import fold
from eshop_ray.data.instructions.plan import SOURCE_LANGUAGE
from eshop_ray.data.instructions.teacher.commission import REASONED, TRANSLATED, WRITTEN
from eshop_ray.schema import Message, Row, decode
from eshop_ray.tasks import get_task
from eshop_ray.tasks.multiple_choice import TASK as CHOICE
from eshop_ray.tasks.multiple_choice import read_choice

FREE_TASKS = frozenset({"generation"})
"""Tasks whose answer can be right in many words, so that nobody can tell whether reasoning came to it."""
SeedKind = tuple[str, str, str, str, str]
"""Sub-task, task, source, licence and language: what rows must share to be shown together."""


@dataclass(frozen=True, slots=True)
class Seed:
    """A row that a teacher may be shown."""

    row: Row
    """Columns of `CANDIDATE_SCHEMA`."""
    question: str
    answer: str

    @property
    def kind(self) -> SeedKind:
        """What it may be shown beside."""
        row = self.row
        return row["group"], row["task"], row["source"], row["licence"], row["language"]

    @property
    def num_options(self) -> int:
        """How many options its question has, one of which is right; rows that were passed on do not say it."""
        if self.row["task"] != CHOICE.name:
            return self.row["num_options"] or 0
        found = read_choice(self.question)
        return self.row["num_options"] or (len(found.candidates) if found else 0)

    @property
    def is_quotable(self) -> bool:
        """Whether its answer stands in its question."""
        return fold(self.answer) in fold(self.question)


@dataclass(slots=True)
class Seeds:
    """What may be shown for each kind of row and each sub-task, in the order of ranks."""

    given: Mapping[tuple[str, str], Sequence[Seed]]
    """(`WRITTEN`, `REASONED` or `TRANSLATED`; sub-task) -> rows."""
    own: defaultdict[SeedKind, list[Seed]] = field(default_factory=lambda: defaultdict(list))
    """Rows that the teacher has written in earlier rounds."""

    def take(self, made: str, group: str) -> Sequence[Seed]:
        """Return the seeds of a kind of row and a sub-task."""
        return self.given.get((made, group), ())

    def add_own(self, rows: Iterable[Row]) -> None:
        """Add rows that the teacher has written."""
        for row in pick_first(rows):
            seed = to_seed(row)
            self.own[seed.kind].append(seed)


def count_wanted(section: TeacherSection) -> dict[tuple[str, str], int]:
    """Return (`WRITTEN`, `REASONED` or `TRANSLATED`; sub-task) -> how many seeds are used."""
    written = {(WRITTEN, group): section.num_seeds for group in section.written}
    made = ((REASONED, section.reasoned), (TRANSLATED, section.translated))
    return written | {(name, group): count_asked(quota, section) for name, own in made for group, quota in own.items()}


def count_asked(quota: int, section: TeacherSection) -> int:
    """Return how many rows are asked for, so that a quota may be filled."""
    return math.ceil(quota * section.tries)


def collect_seeds(rows: Dataset, section: TeacherSection) -> Seeds:
    """Return the seeds for all that a teacher is to do.

    Args:
        rows: Columns of `CANDIDATE_SCHEMA`, marked where they do not stay.
        section: What it is to do.
    """
    held = frozenset(
        key for row in rows.map_batches(_select_held, batch_format="pyarrow").iter_rows() for key in row["keys"] or ()
    )
    told = {"section": section, "held": held}
    found = list(rows.map_batches(select_seeds, batch_format="pyarrow", fn_kwargs=told).iter_rows())
    wanted = count_wanted(section)
    return Seeds({key: [to_seed(row) for row in pick_first(_select(found, *key), n)] for key, n in wanted.items()})


def select_seeds(table: pa.Table, section: TeacherSection, held: Collection[str]) -> pa.Table:
    """Return the rows of a table that may be seeds: of each kind and sub-task no more than are used in all.

    Args:
        table: Columns of `CANDIDATE_SCHEMA`.
        section: What seeds are used for, their licences and lengths.
        held: Products and queries that an evaluation may ask about.
    """
    is_learned = pc.and_(pc.is_null(table["removed"]), pc.equal(table["split"], TRAIN))
    is_asked = pc.is_in(table["group"], pa.array(section.subtasks, pa.string()))
    rows = [row for row in table.filter(pc.and_(is_learned, is_asked)).to_pylist() if _is_fit(row, section, held)]
    picked = (pick_first(_select(rows, *key), most) for key, most in count_wanted(section).items())
    distinct = {row["id"]: row for own in picked for row in own}
    return pa.Table.from_pylist(list(distinct.values()), schema=CANDIDATE_SCHEMA)


def pick_first(rows: Iterable[Row], number: int | None = None) -> list[Row]:
    """Return the first rows by rank; all of them where no number is given."""
    return sorted(rows, key=lambda row: (row["rank"], row["id"]))[:number]


def to_seed(row: Row) -> Seed:
    """Return a row as a teacher is shown it."""
    question = next(turn["content"] for turn in row["messages"] if turn["role"] == "user")
    return Seed(row, question, get_task(row["task"]).format_target(decode(row["target"])))


def measure(messages: Iterable[Message]) -> int:
    """Return the characters of question and answer."""
    return sum(len(turn["content"]) for turn in messages if turn["role"] != "system")


def _is_fit(row: Row, section: TeacherSection, held: Collection[str]) -> bool:
    is_allowed = not section.licences or row["licence"] in section.licences
    is_sized = section.min_characters <= measure(row["messages"]) <= section.max_characters
    return is_allowed and is_sized and not any(key in held for key in row["keys"] or ())


def _select(rows: Iterable[Row], made: str, group: str) -> list[Row]:
    """Return the rows of a sub-task of which such rows can be made."""
    own = [row for row in rows if row["group"] == group]
    if made == REASONED:
        return [row for row in own if row["task"] not in FREE_TASKS]
    return [row for row in own if row["language"] == SOURCE_LANGUAGE] if made == TRANSLATED else own


def _select_held(table: pa.Table) -> pa.Table:
    is_held = pc.and_(pc.is_null(table["removed"]), pc.not_equal(table["split"], TRAIN))
    return table.filter(is_held).select(["keys"])

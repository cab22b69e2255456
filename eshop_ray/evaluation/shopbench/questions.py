"""Questions of ShopBench's public format, as they stand in their files, and what is wrong with those files."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, cast

from eshop_ray.config import Config
from eshop_ray.data.cleaning import check_malformed
from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.sources.repairs import AnswerError
from eshop_ray.data.sources.required import read_objects
from eshop_ray.data.sources.shopbench import read_question
from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.tracks import read_track
from eshop_ray.reporting.words import count
from eshop_ray.schema import Malformed, Row, content_id, is_text
from eshop_ray.tasks import get_task
from eshop_ray.tasks.metrics import get_metric

logger = logging.getLogger(__name__)

MAX_SHOWN = 10
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Gold:
    """What the published file says of a question, and the hidden one does not."""

    task: str
    """Its type, as the name of a task of `eshop_ray.tasks`."""
    metric: str
    target: Any


@dataclass(frozen=True, slots=True)
class Question:
    """One question."""

    path: str
    line: int
    group: str
    """The benchmark's task: `task_name`, or the file's name."""
    prompt: str
    is_multiple_choice: bool
    """What a submission is told of it."""
    track: int | None
    gold: Gold | None
    is_repaired: bool = False

    @property
    def id(self) -> str:
        """Id by content."""
        return content_id(self.group, self.prompt)

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.path}:{self.line}"


@dataclass(slots=True)
class QuestionSet:
    """All questions of the files, and what was left out of them."""

    questions: list[Question] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    repeats: list[tuple[Question, Question]] = field(default_factory=list)
    """Questions that were asked before in the same task, each with the first."""

    @property
    def num_rows(self) -> int:
        """Rows of the files."""
        return len(self.questions) + len(self.malformed) + len(self.repeats)

    @property
    def has_gold(self) -> bool:
        """Whether they can be scored."""
        return bool(self.questions) and self.questions[0].gold is not None

    def describe(self) -> dict[str, Any]:
        """Return what was read and left out, as JSON has it."""
        conflicts = [repeat for repeat, first in self.repeats if repeat.gold != first.gold]
        return {
            "num_rows": self.num_rows,
            "num_questions": len(self.questions),
            "num_malformed": len(self.malformed),
            "malformed": [f"{row.path}:{row.line}: {row.reason}" for row in self.malformed[:MAX_SHOWN]],
            "num_repeats": len(self.repeats),
            "num_repeats_with_another_answer": len(conflicts),
            "repeats": [f"{repeat.place} repeats {first.place}" for repeat, first in self.repeats[:MAX_SHOWN]],
            "num_repaired": sum(question.is_repaired for question in self.questions),
        }


def read_questions(config: Config, pattern: str) -> QuestionSet:
    """Read the questions of all files that a pattern matches.

    A question that repeats one of its task is left out, as is a malformed row; both are named.

    Raises:
        UserError: if there is no file or no question, if too many rows are malformed, if some rows have answers and
            others have none, or if a task's metrics have no common mean.
    """
    files = [file.path for file in list_files(config.data.root, pattern)]
    stems = Counter(map(_stem, files))
    found = QuestionSet()
    first: dict[tuple[str, str], Question] = {}
    for path in files:
        name = _stem(path) if stems[_stem(path)] == 1 else f"{PurePosixPath(path).parent.name}/{_stem(path)}"
        for question in _read_file(path, name, config.shopbench.tracks):
            if isinstance(question, Malformed):
                found.malformed.append(question)
            elif (earlier := first.setdefault((question.group, question.prompt), question)) is not question:
                found.repeats.append((question, earlier))
            else:
                found.questions.append(question)
    _check(found, config.data.max_malformed_share, pattern)
    return found


def warn_of_left_out(found: QuestionSet) -> None:
    """Name the first rows that were left out, and say how many there are."""
    malformed = [f"{row.path}:{row.line}: {row.reason}" for row in found.malformed]
    repeats = [f"{repeat.place} repeats {first.place}" for repeat, first in found.repeats]
    for what, rows in (("malformed", malformed), ("repeated", repeats)):
        for row in rows[:MAX_NAMED]:
            logger.warning("left out: %s", row)
        if rows:
            logger.warning("%s left out because %s; the report has more of them", count(len(rows), "row"), what)


def sample_questions(questions: Sequence[Question], max_rows: int | None) -> list[Question]:
    """Return at most so many questions of each task, always the same ones, in the order of the files."""
    if max_rows is None:
        return list(questions)
    by_group: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_group[question.group].append(question)
    kept = {
        (question.group, question.id)
        for group in by_group.values()
        for question in sorted(group, key=lambda one: one.id)[:max_rows]
    }
    return [question for question in questions if (question.group, question.id) in kept]


def _stem(path: str) -> str:
    return PurePosixPath(path.partition("?")[0]).name.partition(".")[0]


def _read_file(path: str, name: str, tracks: Mapping[str, int]) -> Iterable[Question | Malformed]:
    def parse(path: str, number: int, row: Row) -> Any:  # `read_objects` passes on what it yields, whatever that is
        try:
            question = _to_question(path, number, row, name)
        except (AnswerError, ValueError) as error:
            return Malformed(path, number, str(error))
        return replace(question, track=tracks.get(question.group, question.track))

    shown = path.partition("?")[0]
    with open_bytes(path) as stream:
        yield from cast(Iterable[Question | Malformed], read_objects(stream, shown, ("input_field",), parse))


def _to_question(path: str, number: int, row: Row, name: str) -> Question:
    prompt = row.get("input_field")
    if not isinstance(prompt, str) or not prompt.strip():
        raise AnswerError("`input_field` is missing or empty")
    if not is_text(prompt):
        raise AnswerError("`input_field` holds half of a character")
    gold, is_repaired, given = None, False, row.get("is_multiple_choice")
    if given is not None and not isinstance(given, bool):
        raise AnswerError(f"`is_multiple_choice` {given!r} is neither true nor false")
    is_multiple_choice = bool(given)
    if row.get("output_field") is not None:
        record = read_question(row)
        gold = Gold(record["task"], record["metric"] or get_task(record["task"]).metric, record["target"])
        prompt, is_repaired = str(record.get("prompt", record.get("text"))), "repaired" in record
        if given is None:
            is_multiple_choice = gold.task in ("multiple_choice", "classification")
    group = str(row.get("task_name") or name)
    return Question(path, number, group, prompt, is_multiple_choice, read_track(row.get("track")), gold, is_repaired)


def _check(found: QuestionSet, max_malformed_share: float, pattern: str) -> None:
    shown = [{"path": row.path, "line": row.line, "reason": row.reason} for row in found.malformed[:MAX_SHOWN]]
    check_malformed(shown, len(found.malformed), found.num_rows, max_malformed_share)
    if not found.questions:
        raise UserError(f"`shopbench.path` {pattern}: no question in it")
    _check_gold(found.questions)
    _check_tracks(found.questions)
    _check_one_track(found.questions)
    _check_means(found.questions)


def _check_gold(questions: Sequence[Question]) -> None:
    without = [question for question in questions if question.gold is None]
    if without and len(without) < len(questions):
        places = ", ".join(question.place for question in without[:3])
        raise UserError(
            f"{count(len(without), 'question')} of {len(questions):,} have no `output_field` ({places}): a score of "
            "the others would pass for one of all; take them out, or give them answers"
        )


def _check_tracks(questions: Sequence[Question]) -> None:
    without = sorted({question.group for question in questions if question.track is None})
    if without and any(question.track is not None for question in questions):
        raise UserError(
            f"some tasks are of no track ({', '.join(without[:5])}) and others are: name theirs in `shopbench.tracks`, "
            "e.g. {TASK: 1}"
        )


def _check_one_track(questions: Sequence[Question]) -> None:
    tracks: dict[str, set[int | None]] = defaultdict(set)
    for question in questions:
        tracks[question.group].add(question.track)
    for group, found in tracks.items():
        if len(found) > 1:
            names = ", ".join(sorted(map(str, found)))
            raise UserError(f"task `{group}` is in tracks {names}; give it a name (`task_name`) for each of them")


def _check_means(questions: Sequence[Question]) -> None:
    metrics: dict[str, set[str]] = defaultdict(set)
    for question in questions:
        if question.gold:
            metrics[question.group].add(question.gold.metric)
    for group, names in metrics.items():
        if len(names) > 1 and not all(get_metric(name).is_mean for name in names):
            raise UserError(f"task `{group}` mixes the metrics {', '.join(sorted(names))}, which have no common mean")

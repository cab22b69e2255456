"""A recipe, checked before any work begins: what will be built, of what, and what cannot be."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eshop_ray import artifacts
from eshop_ray.config import Config, InstructionSource, SubtaskSection
from eshop_ray.config.teacher import TeacherSection
from eshop_ray.data import files
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.instructions.builders import get_subtask, load_subtasks
from eshop_ray.data.instructions.material import Instruction
from eshop_ray.data.instructions.sources import list_companions
from eshop_ray.data.language import LANGUAGES
from eshop_ray.errors import UserError, find_nearest
from eshop_ray.places import show
from eshop_ray.schema import Row, encode

DEV = "dev"
"""Questions about products and queries that nothing is learned of, in wordings that are learned."""
SOURCE_LANGUAGE = "en"
"""That a teacher translates from."""
UNSEEN = "unseen"
"""The same questions in wordings that are held out."""
_VERSION = 6
"""Raise it when readers, builders or wordings change: the digest of a recipe then changes with them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe comes to."""

    seed: int
    digest: str
    """Of the recipe: where its files stand has no part in it."""
    drawn_by: str
    """The same without its teacher. Choices are drawn by it, so that a teacher moves no row that is not its own."""
    eval_share: float
    max_eval_rows: int | None
    max_passed_on_share: float
    quotas: Mapping[tuple[str, str], int | None]
    """(sub-task, split) -> rows at most, of what is learned from and of splits that entries name."""
    entries: Sequence[SubtaskSection]
    sources: Mapping[str, InstructionSource]
    """Those that entries name and whose licence is allowed."""
    teacher: TeacherSection | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    """Source -> why nothing is made of it."""

    def limit_of(self, subtask: str, split: str) -> int | None:
        """Return how many rows of a sub-task a split has at most; None where there is no limit."""
        return self.quotas.get((subtask, split), self.max_eval_rows)


def plan_recipe(config: Config) -> Plan:
    """Return what a config's recipe comes to.

    Raises:
        UserError: for a sub-task or a source of no such name, an empty recipe, or one that allows no source at all.
    """
    recipe = config.instructions
    if not recipe.subtasks:
        raise UserError("`instructions.subtasks` is empty; name at least one with `name` and `source`")
    for entry in recipe.subtasks:
        get_subtask(entry.name)
        for source in entry.sources:
            _check_source(entry.name, source, recipe.sources)
    if recipe.teacher:
        _check_teacher(recipe.teacher, [entry.name for entry in recipe.subtasks])
    named = {source for entry in recipe.subtasks for source in entry.sources}
    wanted = {name: source for name, source in recipe.sources.items() if name in named}
    absent = {name: reason for name in wanted if (reason := _find_absence(config, name))}
    if len(absent) == len(wanted):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise UserError(f"no source of the recipe can be used: {reasons}")
    return Plan(
        seed=config.seed,
        digest=digest_recipe(config),
        drawn_by=_digest_without_teacher(config),
        eval_share=recipe.eval_share,
        max_eval_rows=recipe.max_eval_rows,
        max_passed_on_share=recipe.max_passed_on_share,
        quotas=_share_out(recipe.subtasks, recipe.num_rows, recipe.max_eval_rows),
        entries=recipe.subtasks,
        sources={name: source for name, source in wanted.items() if name not in absent},
        teacher=recipe.teacher,
        absent=absent,
    )


def digest_recipe(config: Config) -> str:
    """Return the digest of what a recipe says, whatever machine says it."""
    drawn_by, teacher = _digest_without_teacher(config), config.instructions.teacher
    return artifacts.fingerprint([drawn_by, teacher.model_dump(mode="json")]) if teacher else drawn_by


def _digest_without_teacher(config: Config) -> str:
    return artifacts.fingerprint([config.instructions.model_dump(mode="json", exclude={"teacher"}), _VERSION])


def fingerprint_build(config: Config, plan: Plan, teacher: str | None = None) -> str:
    """Return a digest of all that determines the rows: recipe, seed, and size and time of every file that is read.

    Args:
        config: Of the run.
        plan: Its recipe.
        teacher: Who makes rows, as they carry it.
    """
    listed = list_material_files(config, plan.sources)
    held = [
        {"path": file.path, "format": one.format}
        for one in config.instructions.decontaminate
        for file in files.list_files(config.data.root, one.path)
    ]
    paths = [(file["path"], *list_companions(file["format"], file["path"])) for file in (*listed, *held)]
    states = [(path, files.state_of(path)) for path in itertools.chain.from_iterable(paths)]
    named = [teacher] if teacher else []
    return artifacts.fingerprint([plan.digest, plan.seed, sorted(plan.absent), states, *named])


def list_material_files(config: Config, sources: Mapping[str, InstructionSource]) -> list[Row]:
    """Return `source`, `path`, `format` and `options` of every file of sources."""
    return [
        {
            "source": name,
            "path": file.path,
            "format": source.format,
            "options": encode({**source.options, "language": source.language}),
        }
        for name, source in sources.items()
        for file in files.list_files(config.data.root, source.path)
    ]


def list_splits(entry: SubtaskSection) -> tuple[str, ...]:
    """Return the splits that an entry's rows are made for, the one that its quota is of first."""
    return (entry.split,) if entry.split is not None else (TRAIN, DEV)


def takes(entry: SubtaskSection, kind: type[Any]) -> bool:
    """Whether an entry makes rows of a kind of material."""
    return kind in get_subtask(entry.name).takes or kind is Instruction


def find_unplanned(entries: Sequence[SubtaskSection]) -> list[str]:
    """Return the sub-tasks that a recipe leaves out."""
    return sorted(set(load_subtasks()) - {entry.name for entry in entries})


def _check_source(subtask: str, name: str, sources: Mapping[str, Any]) -> None:
    if name not in sources:
        hint = f"did you mean `{find_nearest(name, sources)}`?" if sources else "`instructions.sources` is empty"
        raise UserError(f"sub-task `{subtask}`: no source `{name}`; {hint}")


def _check_teacher(teacher: TeacherSection, subtasks: Sequence[str]) -> None:
    """Refuse quotas of sub-tasks that have no rows to show, and languages that nobody can check."""
    for name in teacher.subtasks:
        if name not in subtasks:
            nearest = find_nearest(name, subtasks)
            raise UserError(f"`instructions.teacher`: the recipe has no sub-task `{name}`; did you mean `{nearest}`?")
    if unknown := sorted(set(teacher.languages) - set(LANGUAGES)):
        known = ", ".join(code for code in LANGUAGES if code != SOURCE_LANGUAGE)
        raise UserError(
            f"`instructions.teacher.languages`: {', '.join(unknown)} cannot be checked; take some of {known}"
        )


def _find_absence(config: Config, name: str) -> str | None:
    """Return why a source cannot be used, if it cannot."""
    source, allowed = config.instructions.sources[name], config.instructions.licences
    if allowed and source.licence not in allowed:
        return f"licence {source.licence} is not among those that `instructions.licences` allows"
    try:
        listed = files.list_files(config.data.root, source.path)
        is_empty = not any(files.state_of(file.path)[0] for file in listed)
    except UserError as error:
        return str(error)
    return f"{show(files.resolve(config.data.root, source.path))}: nothing stands in it" if is_empty else None


def _share_out(
    entries: Sequence[SubtaskSection], num_rows: int | None, max_eval_rows: int | None
) -> dict[tuple[str, str], int | None]:
    """Return the quota of each entry: its own, or its share of what those leave; `num_rows` are rows to learn from."""
    quotas = {(entry.name, list_splits(entry)[0]): entry.quota for entry in entries}
    weights = {(entry.name, list_splits(entry)[0]): entry.weight for entry in entries}
    held = {key: max_eval_rows if quota is None else quota for key, quota in quotas.items() if not is_trained(key[1])}
    held |= {(name, UNSEEN): quota for (name, split), quota in held.items() if split == DEV}
    learned = {key: quota for key, quota in quotas.items() if is_trained(key[1])}
    shared = {key: weights[key] for key, quota in learned.items() if quota is None}
    if num_rows is None:
        return {**learned, **held}
    left = num_rows - sum(quota or 0 for quota in learned.values())
    if shared and left < len(shared):
        raise UserError(
            f"`instructions.num_rows` is {num_rows}, and the quotas leave {max(left, 0)} of them to {len(shared)} "
            "sub-tasks without one; raise it"
        )
    total = sum(shared.values())
    return {**learned, **held, **{key: max(1, round(left * weight / total)) for key, weight in shared.items()}}


def is_trained(split: str) -> bool:
    """Whether models learn from a split."""
    return split == TRAIN

"""What an adapter learns from beside the records."""

from typing import Any

from eshop_ray.config import Config
from eshop_ray.models import model_digest
from eshop_ray.training.distilling.answers import find_answers
from eshop_ray.training.distilling.teacher import find_teacher

PLACES = {"teacher", "answers"}
"""Settings of the section `train` that name places: what stands there counts, by its digest."""
TEACHING = {"teacher_top_k", "teacher_share"}
"""Those that say something only where there is a teacher."""


def trace_teaching(config: Config) -> dict[str, str]:
    """Return the digests of teacher and answers, as parents are named; empty where labels alone are learned.

    Raises:
        UserError: if the teacher or the answers cannot be had.
    """
    train, parents = config.train, {}
    if train.teacher:
        parents["teacher"] = model_digest(find_teacher(config))
    if train.answers:
        parents["answers"] = find_answers(train.answers)[1].digest
    return parents


def describe_teaching(config: Config) -> list[dict[str, Any]]:
    """Return what a fingerprint says of teacher and answers; nothing where labels alone are learned.

    Raises:
        UserError: as `trace_teaching`.
    """
    parents = trace_teaching(config)
    if "teacher" not in parents:
        return [parents] if parents else []
    return [{**parents, **config.train.model_dump(include=TEACHING)}]

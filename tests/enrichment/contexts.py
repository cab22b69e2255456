"""Prompts of tasks as they come, without a config."""

from eshop_ray.enrichment.questions import PromptContext
from eshop_ray.enrichment.templates import build_template
from eshop_ray.tasks import get_task
from eshop_ray.tasks.product import LABELS


def templates_of(tasks, labels=("A", "B")):
    """Name -> template, `labels` for those that choose from some."""
    found = {name: get_task(name) for name in tasks}
    given = {name: labels if LABELS in task.product.fields else () for name, task in found.items()}
    return {name: build_template(name, task, given[name]) for name, task in found.items()}


def context_of(tasks, labels, answers, max_review_tokens):
    return PromptContext(templates_of(tasks, labels), answers, max_review_tokens)

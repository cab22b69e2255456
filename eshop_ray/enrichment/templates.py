"""What stands behind the names in `enrich.tasks`: tasks, asked in the shop's own words where it has any."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import Config
from eshop_ray.config.nightly import QuestionSection
from eshop_ray.data.labels import choose_labels
from eshop_ray.enrichment.labels import propose_labels
from eshop_ray.errors import UserError
from eshop_ray.schema import Message
from eshop_ray.tasks import Task, get_task, list_tasks
from eshop_ray.tasks.product import ATTRIBUTES, LABELS, NOT_COLUMNS, REVIEWS, ProductForm

Attributes = Mapping[str, tuple[str, ...] | None]
"""What is asked for: name -> the values that it may have; None: any."""

OTHERS = "*"
"""Stands for all categories that are not named."""

PROMPT_ID_CHARACTERS = 16

_CODE = re.compile(r"[a-zA-Z]{2,3}(?:[-_][a-zA-Z]{2,4})?")


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a prompt says besides the product's own text."""

    prompt_id: str
    """Digest of `messages` and of the task that reads the answer."""
    messages: tuple[Message, ...]
    """The chat turns; `{name}` stands for the column of that name."""
    attributes: Attributes | None = None
    """What is asked for, where the task asks for attributes."""


@dataclass(frozen=True, slots=True)
class Template:
    """What is asked under one name."""

    name: str
    """As it stands in `enrich.tasks` and in the table's column `task`."""
    task: Task
    """With the instruction, the columns and the limit of the config."""
    labels: tuple[str, ...] = ()
    prompts: Mapping[str, Prompt] = field(default_factory=dict)
    """By the product's category, `*` for all others; only attributes differ between categories."""

    @property
    def form(self) -> ProductForm:
        """What the task reads of a product."""
        return get_product_form(self.task)

    def find_prompt(self, category: str | None) -> Prompt | None:
        """Return the prompt of a category; None: nothing is asked about its products."""
        return self.prompts.get(category or OTHERS, self.prompts.get(OTHERS))

    @property
    def own_words(self) -> list[str]:
        """The instruction where it is not the task's own: a part of the question's identity."""
        return [] if self.task.instruction == get_task(self.task.name).instruction else [self.task.instruction]


def build_templates(config: Config) -> dict[str, Template]:
    """Return name -> what is asked, for each of `enrich.tasks`.

    Raises:
        UserError: naming the key, if there is no such task, it cannot be asked about a product or in that way, or
            labels or attributes are missing. A list of labels is then proposed; see `propose_labels`.
    """
    names, questions = config.enrich.tasks, config.enrich.questions
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"`enrich.tasks`: `{twice[0]}` stands there twice; give the second one a name in its questions")
    return {name: _build_template(name, questions.get(name, QuestionSection()), config) for name in names}


def get_product_form(task: Task) -> ProductForm:
    """Return how a task is asked about a product.

    Raises:
        UserError: if it is not, naming the tasks that are.
    """
    if task.product is None:
        names = ", ".join(name for name in list_tasks() if get_task(name).product)
        raise UserError(
            f"`enrich.tasks`: `{task.name}` does not say what it reads of a product; choose from {names}, or give it a "
            f"`product=ProductForm(...)` in eshop_ray/tasks/{task.name}.py"
        )
    return task.product


def build_template(
    name: str, task: Task, labels: Sequence[str] = (), attributes: Mapping[str, Attributes] | None = None
) -> Template:
    """Return a template with its prompts: one, or, of attributes, one for each category.

    Args:
        name: What it is called in the table.
        task: One that says what it reads of a product.
        labels: To choose from.
        attributes: Category -> what is asked for; None: the task asks for none.

    Raises:
        KeyError: naming a column that the task cannot do without.
    """
    labels = tuple(labels)
    asked = attributes if attributes is not None else {OTHERS: None}
    prompts = {category: _build_prompt(task, labels, one) for category, one in asked.items()}
    return Template(name, task, labels, prompts)


def list_columns(templates: Mapping[str, Template]) -> tuple[str, ...]:
    """Return the catalogue's columns that questions read, and `category`, by which attributes are chosen."""
    read = [column for template in templates.values() for column in template.form.columns]
    return tuple(dict.fromkeys([*read, "category"]))


def describe_prompts(templates: Mapping[str, Template]) -> dict[str, dict[str, Any]]:
    """Return `prompt_id` -> the prompt in words, as a run's record keeps it."""
    return {
        prompt.prompt_id: {
            "question": name,
            "task": template.task.name,
            "task_version": template.task.version,
            "columns": list(template.form.columns),
            "max_tokens": template.task.max_tokens,
            "messages": list(prompt.messages),
        }
        for name, template in templates.items()
        for prompt in template.prompts.values()
    }


def _build_template(name: str, question: QuestionSection, config: Config) -> Template:
    key = f"enrich.questions.{name}"
    if question.task not in (None, name) and name in list_tasks():
        raise UserError(f"`{key}`: `{name}` is the name of another task; call the question otherwise")
    task = get_task(question.task or name)
    form = _choose_columns(get_product_form(task), question.fields, key)
    for given, needed in (("labels", LABELS), ("attributes", ATTRIBUTES)):
        if getattr(question, given) and needed not in form.fields:
            takers = ", ".join(one for one in list_tasks() if needed in getattr(get_task(one).product, "fields", ()))
            raise UserError(f"`{key}.{given}`: the task `{task.name}` takes none; those that do: {takers}")
    if ATTRIBUTES in form.fields and not question.attributes:
        raise UserError(
            f"`{key}.attributes`: `{name}` has to say which attributes are asked for, e.g. "
            "{'*': {color: [red, blue], material: null}}"
        )
    worded = replace(
        task,
        instruction=_word(task.instruction, question, key),
        max_tokens=question.max_tokens or task.max_tokens,
        product=form,
    )
    labels = _find_labels(name, question, config) if LABELS in form.fields else ()
    attributes = {" ".join(one.split()): asked for one, asked in question.attributes.items()}
    try:
        return build_template(name, worded, labels, attributes or None)
    except KeyError as missing:
        raise UserError(f"`{key}.fields`: the task `{task.name}` needs {missing} too") from missing


def _choose_columns(form: ProductForm, columns: Sequence[str], key: str) -> ProductForm:
    """Return a form that reads other columns, and reviews, labels and attributes as before."""
    if not columns:
        return form
    if wrong := [name for name in columns if name in NOT_COLUMNS]:
        raise UserError(f"`{key}.fields`: `{wrong[0]}` is no column of the catalogue")
    kept = tuple(name for name in form.fields if name in NOT_COLUMNS)
    if kept == form.fields:  # a task that could do without any column reads the new ones where they are sound
        return replace(form, optional=tuple(columns))
    return replace(form, fields=(*columns, *kept), optional=())


def _word(instruction: str, question: QuestionSection, key: str) -> str:
    words = " ".join((question.instruction or instruction).split())
    if question.language is None:
        return words if question.instruction else instruction
    language = question.language.strip()
    if _CODE.fullmatch(language) or not language:
        raise UserError(f"`{key}.language`: {language!r} is no language in words; write e.g. German")
    return f"{words} Answer in {language}."


def _find_labels(name: str, question: QuestionSection, config: Config) -> tuple[str, ...]:
    """Return the labels of a question, or of the catalogue.

    What a catalogue says never becomes a label by itself: a category that is misspelt, or written to mislead the model,
    would stand in the prompt of every other product.
    """
    catalog = config.catalog
    key, given = f"enrich.questions.{name}.labels", question.labels
    if not given:
        key, given = "catalog.labels", catalog.labels
    labels = choose_labels(key, given, config.data.root, catalog)
    if not labels:
        raise UserError(f"`{name}` chooses from labels, and `catalog.labels` names none; {propose_labels(config)}")
    return labels


def _build_prompt(task: Task, labels: tuple[str, ...], attributes: Attributes | None) -> Prompt:
    form = get_product_form(task)
    values: dict[str, Any] = {name: f"{{{name}}}" for name in form.columns}
    values |= {REVIEWS: ["{review}"]} if REVIEWS in form.fields else {}
    values |= {LABELS: labels} if LABELS in form.fields else {}
    values |= {ATTRIBUTES: attributes} if attributes is not None else {}
    try:
        messages = task.build_messages(form.build(values))
    except KeyError:
        raise
    except Exception:  # a task of one's own may want more of a column than that it is text
        messages = [{"role": "system", "content": task.instruction}]
    prompt_id = fingerprint([task.name, task.version, form.columns, labels, attributes, messages])
    return Prompt(prompt_id[:PROMPT_ID_CHARACTERS], tuple(messages), attributes)

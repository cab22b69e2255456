"""Where a chat template's own prompt is not what stands before an answer: found, told, and closed where an option does.

vLLM's server and other programs take the template's own prompts; see `eshop_ray.data.chat_template` for ours.
"""

import logging
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from eshop_ray.data.chat_template import (
    Gap,
    arrange_turns,
    find_gap,
    render_answer,
    render_before_answer,
    render_prompt,
)
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.models.template_text import list_option_names, read_options, write_prompt_end
from eshop_ray.models.templates import DEFAULT, name_source, read_templates, save_templates
from eshop_ray.tasks import Task

SETS_PROMPTS = ("chat_template", "default_chat_template_kwargs", "reasoning_parser")
"""Arguments of vLLM's server that say how chats are to begin, or that they may think."""

logger = logging.getLogger(__name__)


def list_closing_options(tokenizer: Any) -> list[dict[str, bool]]:
    """Return the options with which a template's own prompt is what stands before an answer, e.g. `enable_thinking`.

    None are needed, and none returned, where it is so already; options that are set in the template stay.
    """
    try:
        if not find_gap(tokenizer).is_open:
            return []
    except ValueError:  # `check_template` says so
        return []
    template = tokenizer.get_chat_template()
    names = [name for name in list_option_names(template) if name not in read_options(template)]
    return [{name: value} for value in (False, True) for name in names if _closes(tokenizer, {name: value})]


def _closes(tokenizer: Any, option: Mapping[str, bool]) -> bool:
    try:
        return not find_gap(tokenizer, option).is_open
    except ValueError:  # it is no boolean
        return False


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save the tokenizer of a model that was trained, with a template whose own prompts are those that it learnt: other
    programs ask it so.
    """
    tokenizer.save_pretrained(folder)
    try:
        gap = find_gap(tokenizer)
    except ValueError:  # nobody has trained it
        return
    if gap.is_open:
        own, learnt = f"{gap.shared}{gap.own}", f"{gap.shared}{gap.before_answer}"
        save_templates(folder, {DEFAULT: write_prompt_end(read_templates(folder)[DEFAULT], own, learnt)})


def check_template(model_dir: Path, tasks: Iterable[Task]) -> None:
    """Find out, before an engine or weights are loaded, whether what is learnt can be what is asked.

    Args:
        model_dir: Folder whose tokenizer and chat template apply.
        tasks: What is asked.

    Raises:
        UserError: if the template takes no answer, changes earlier turns by it, or alters an answer of a task.
    """
    tokenizer, name = load_tokenizer(model_dir), name_source(model_dir)
    try:
        gap = find_gap(tokenizer)
    except ValueError as error:
        raise UserError(
            f"the chat template of {name} cannot be trained or asked: {error}; {_remedy(tokenizer)}"
        ) from error
    for task in tasks:
        for example in task.examples:
            _check_example(name, tokenizer, task, example)
    if gap.is_open:
        logger.info("%s: %s; prompts are as conversations have it, in training and in inference", name, _describe(gap))


def warn_of_gap(model_dir: Path, arguments: Container[str]) -> None:
    """Say so if vLLM's server, which writes a template's own prompts, asks otherwise than a model is trained.

    Args:
        model_dir: Folder of the model.
        arguments: Names of the server's arguments; who states how chats begin, here or by an option, is told nothing.
    """
    if any(name in arguments for name in SETS_PROMPTS) or not read_templates(model_dir):
        return
    tokenizer = load_tokenizer(model_dir)
    try:
        gap = find_gap(tokenizer)
    except ValueError:  # nobody has trained it, and vLLM has its own words
        return
    if gap.is_open and not read_options(tokenizer.get_chat_template()):
        name = name_source(model_dir)
        logger.warning("%s: %s: chats may begin with a thought%s", name, _describe(gap), _advise(tokenizer))


def _advise(tokenizer: Any) -> str:
    options = list_closing_options(tokenizer)
    if not options:
        return ""
    return f"; for answers alone set `model.template_options={_word(options[0])}`"


def _check_example(name: str, tokenizer: Any, task: Task, example: Mapping[str, Any]) -> None:
    answer, messages = task.format_target(example["target"]), task.build_messages(example)
    try:
        prompt, rendered = render_prompt(tokenizer, messages), render_answer(tokenizer, messages, answer)
        before = render_before_answer(tokenizer, arrange_turns(tokenizer, messages))
        if prompt.rstrip() != before.rstrip():
            raise ValueError("what it puts before an answer depends on what is asked")
    except Exception as error:  # whatever a template raises
        raise UserError(
            f"the chat template of {name} cannot be trained or asked, as an example of `{task.name}` shows: "
            f"{error}; {_remedy(tokenizer)}"
        ) from error
    if not rendered.startswith(answer.strip()):
        raise UserError(
            f"the chat template of {name} alters answers: of `{answer}`, an answer of `{task.name}`, it makes "
            f"`{rendered}`; {_remedy(tokenizer)}"
        )


def _remedy(tokenizer: Any) -> str:
    is_set = read_options(tokenizer.get_chat_template())
    return "mend it, or change `model.template_options`" if is_set else "mend it"


def _word(option: Mapping[str, bool]) -> str:
    return "{" + ", ".join(f"{name}: {str(value).lower()}" for name, value in option.items()) + "}"


def _describe(gap: Gap) -> str:
    if gap.before_answer.strip():
        return f"the chat template puts {gap.before_answer!r} before an answer"
    return f"the chat template's own prompts end with {gap.own!r}, which no conversation has before an answer"

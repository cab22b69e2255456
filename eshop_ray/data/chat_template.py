"""Chat messages -> the text of a prompt and of an answer, the same in training and in inference.

A prompt is what a whole conversation has before its answer. That is not always what a template writes where an answer
is yet to come: Qwen3 puts an empty thinking block before an answer and not into the prompt, DeepSeek-R1's distills
begin a thought in the prompt that their history does not have. What is asked is what was learnt, whatever the template.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import Any

from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.models.templates import (
    list_option_names,
    read_options,
    read_templates,
    save_templates,
    write_options,
)
from eshop_ray.schema import Message
from eshop_ray.tasks import Task

MARKS = ("\ue000", "\ue001", "\ue002")
"""Contents of messages to find again in a rendered text: private characters, which templates pass on as they are."""

logger = logging.getLogger(__name__)


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return what a conversation has before the answer to these messages.

    Raises:
        ValueError: if the template leaves an answer out.
    """
    return _render_before_answer(tokenizer, arrange_turns(tokenizer, messages))


def render_answer(tokenizer: Any, messages: Sequence[Message], answer: str) -> str:
    """Return what a conversation has from the answer on, with what the template puts behind it.

    Raises:
        ValueError: if the template changes what stands before an answer by what the answer is.
    """
    prompt = render_prompt(tokenizer, messages)
    turns = [*arrange_turns(tokenizer, messages), {"role": "assistant", "content": answer}]
    text = _render(tokenizer, turns)
    if not text.startswith(prompt):
        raise ValueError("the chat template does not extend the prompt by the answer")
    return text[len(prompt) :]


def arrange_turns(tokenizer: Any, messages: Sequence[Message]) -> list[Message]:
    """Return messages as the chat template takes them: what the system says goes into the first user's turn where the
    template refuses a system message, leaves it out, or moves it so that an answer would not extend the prompt.
    """
    place = next((index for index, message in enumerate(messages) if message["role"] == "user"), None)
    if not messages or messages[0]["role"] != "system" or place is None or takes_system(tokenizer):
        return list(messages)
    content = f"{messages[0]['content']}\n\n{messages[place]['content']}"
    return [*messages[1:place], {**messages[place], "content": content}, *messages[place + 1 :]]


def takes_system(tokenizer: Any) -> bool:
    """Return whether a chat template takes a system message as what it is; asked once per template."""
    template = str(tokenizer.chat_template)
    if template not in _TAKES_SYSTEM:
        turns: list[Message] = [{"role": "system", "content": MARKS[0]}, {"role": "user", "content": MARKS[1]}]
        try:
            head = _find_head(tokenizer, turns)
            _TAKES_SYSTEM[template] = MARKS[0] in head and _render_before_answer(tokenizer, turns).startswith(head)
        except Exception:  # whatever a template raises to refuse
            _TAKES_SYSTEM[template] = False
    return _TAKES_SYSTEM[template]


_TAKES_SYSTEM: dict[str, bool] = {}


@dataclass(frozen=True, slots=True)
class Gap:
    """How a template's own prompt, for an answer that is yet to come, ends otherwise than what stands before one."""

    own: str
    """What only the template's own prompt ends with."""
    before_answer: str
    """What only a conversation with an answer has before it."""

    @property
    def is_open(self) -> bool:
        """Whether a model that learnt the one is asked something else by the other; white space does not count."""
        return bool(self.own.strip() or self.before_answer.strip())


def find_gap(tokenizer: Any, options: Mapping[str, Any] | None = None) -> Gap:
    """Compare a template's own prompt with what it puts before an answer.

    Args:
        tokenizer: With the template.
        options: Of the template, beside those that are set in it.

    Raises:
        ValueError: if the template does not take an answer, or if it changes earlier turns by it.
    """
    turns = arrange_turns(tokenizer, _QUESTION)
    try:
        own = _render(tokenizer, turns, add_generation_prompt=True, **(options or {}))
        before = _render_before_answer(tokenizer, turns, options)
    except Exception as error:  # whatever a template raises to refuse
        raise ValueError(f"it takes no conversation that ends with an answer ({error})") from error
    head = own[: own.rfind(MARKS[1]) + 1]
    if not head or not before.startswith(head):
        raise ValueError("it leaves the question out, or writes it otherwise once an answer follows")
    num_shared = len(commonprefix([own, before]))  # noqa: RUF071 - these are texts, not paths
    return Gap(own[num_shared:], before[num_shared:])


_QUESTION: list[Message] = [{"role": "system", "content": MARKS[0]}, {"role": "user", "content": MARKS[1]}]


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
    """Save the tokenizer of a model that was trained, with a template whose own prompts are those that it learnt, as
    far as an option does that: other programs ask it so.
    """
    tokenizer.save_pretrained(folder)
    option = next((one for one in list_closing_options(tokenizer) if _keeps_learnt(tokenizer, one)), None)
    if option:
        templates = read_templates(folder)
        save_templates(folder, {name: write_options(text, option) for name, text in templates.items()})
        logger.info("%s: %s in its chat template, as it was trained", folder.name, _word(option))


def _keeps_learnt(tokenizer: Any, option: Mapping[str, bool]) -> bool:
    turns = arrange_turns(tokenizer, _QUESTION)
    return _render_before_answer(tokenizer, turns, option) == _render_before_answer(tokenizer, turns)


def check_template(model_dir: Path, tasks: Iterable[Task]) -> None:
    """Find out, before an engine or weights are loaded, whether what is learnt can be what is asked.

    Args:
        model_dir: Folder whose tokenizer and chat template apply.
        tasks: What is asked.

    Raises:
        UserError: if the template takes no answer, changes earlier turns by it, or alters an answer of a task.
    """
    tokenizer = load_tokenizer(model_dir)
    try:
        gap = find_gap(tokenizer)
    except ValueError as error:
        raise UserError(f"the chat template of {model_dir} cannot be trained or asked: {error}; mend it") from error
    for task in tasks:
        for example in task.examples:
            _check_example(model_dir, tokenizer, task, example)
    if gap.is_open:
        logger.info(
            "%s: %s; prompts are as conversations have it, in training and in inference. %s",
            model_dir,
            _describe(gap),
            _name_remedy(tokenizer),
        )


def warn_of_gap(model_dir: Path) -> None:
    """Say so if vLLM's server, which writes a template's own prompts, asks otherwise than a model is trained."""
    if not read_templates(model_dir):
        return
    tokenizer = load_tokenizer(model_dir)
    try:
        gap = find_gap(tokenizer)
    except ValueError:  # nobody has trained it, and vLLM has its own words
        return
    if gap.is_open:
        logger.warning("%s: %s. %s", model_dir, _describe(gap), _name_remedy(tokenizer))


def _name_remedy(tokenizer: Any) -> str:
    options = list_closing_options(tokenizer)
    if not options:
        return "A server of OpenAI's API asks otherwise: chats may begin with a thought"
    return (
        "A server of OpenAI's API asks otherwise, unless it was set before training: "
        f"`model.template_options={_word(options[0])}`"
    )


def _check_example(model_dir: Path, tokenizer: Any, task: Task, example: Mapping[str, Any]) -> None:
    answer = task.format_target(example["target"])
    try:
        rendered = render_answer(tokenizer, task.build_messages(example), answer)
    except Exception as error:  # whatever a template raises
        raise UserError(
            f"the chat template of {model_dir} cannot be trained or asked, as an example of `{task.name}` shows: "
            f"{error}; mend it"
        ) from error
    if not rendered.startswith(answer.strip()):
        raise UserError(
            f"the chat template of {model_dir} alters answers: of `{answer}`, an answer of `{task.name}`, it makes "
            f"`{rendered}`; mend it"
        )


def _word(option: Mapping[str, bool]) -> str:
    return "{" + ", ".join(f"{name}: {str(value).lower()}" for name, value in option.items()) + "}"


def _describe(gap: Gap) -> str:
    if gap.before_answer.strip():
        return f"the chat template puts {gap.before_answer!r} before an answer"
    return f"the chat template's own prompts end with {gap.own!r}, which no conversation has before an answer"


def _find_head(tokenizer: Any, turns: Sequence[Message]) -> str:
    """Return a template's own prompt up to the end of what the user says."""
    own = _render(tokenizer, turns, add_generation_prompt=True)
    return own[: own.rfind(MARKS[1]) + 1]


def _render_before_answer(tokenizer: Any, turns: Sequence[Message], options: Mapping[str, Any] | None = None) -> str:
    text = _render(tokenizer, [*turns, {"role": "assistant", "content": MARKS[2]}], **(options or {}))
    place = text.rfind(MARKS[2])
    if place < 0:
        raise ValueError("the chat template leaves an answer out")
    return text[:place]


def _render(tokenizer: Any, turns: Sequence[Message], **options: Any) -> str:
    text: str = tokenizer.apply_chat_template(list(turns), tokenize=False, **options)
    return text

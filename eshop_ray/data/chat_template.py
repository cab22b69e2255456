"""Chat messages -> the text of a prompt and of an answer, the same in training and in inference.

A prompt is what a whole conversation has before its answer. That is not always what a template writes by itself, where
an answer is yet to come: Qwen3 puts an empty thinking block before an answer and not into its own prompt, DeepSeek-R1's
distills begin a thought there that their history does not have. A model is asked what it learnt, whatever the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from eshop_ray.schema import Message

MARKS = ("\ue000", "\ue001", "\ue002")
"""Contents of messages to find again in a rendered text: private characters, which templates pass on as they are."""


QUESTION: list[Message] = [{"role": "system", "content": MARKS[0]}, {"role": "user", "content": MARKS[1]}]
"""Turns to try a template with."""


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return what a model is asked, and learns to answer: the template's own prompt where nothing but white space
    stands between that and an answer, else what a conversation has before the answer.

    Raises:
        ValueError: if the template leaves an answer out.
    """
    turns = arrange_turns(tokenizer, messages)
    if prompts_by_itself(tokenizer):
        return render(tokenizer, turns, add_generation_prompt=True)
    return render_before_answer(tokenizer, turns)


def render_answer(tokenizer: Any, messages: Sequence[Message], answer: str) -> str:
    """Return what a conversation has from the answer on, with what the template puts behind it.

    Raises:
        ValueError: if the template changes what stands before an answer by what the answer is.
    """
    turns = arrange_turns(tokenizer, messages)
    before = render_before_answer(tokenizer, turns)
    text = render(tokenizer, [*turns, {"role": "assistant", "content": answer}])
    if not text.startswith(before):
        raise ValueError("the chat template does not extend the prompt by the answer")
    return text[len(before) :]


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
        try:
            head = _find_head(render(tokenizer, QUESTION, add_generation_prompt=True))
            _TAKES_SYSTEM[template] = MARKS[0] in head and render_before_answer(tokenizer, QUESTION).startswith(head)
        except Exception:  # whatever a template raises to refuse
            _TAKES_SYSTEM[template] = False
    return _TAKES_SYSTEM[template]


_TAKES_SYSTEM: dict[str, bool] = {}


def prompts_by_itself(tokenizer: Any) -> bool:
    """Return whether a template's own prompt is, but for white space, what it has before an answer; asked once per
    template.

    Such white space is left out between prompt and answer: every engine and server asks by the own prompt, and decoding
    that is held to a form does not begin with a blank.
    """
    template = str(tokenizer.chat_template)
    if template not in _PROMPTS_BY_ITSELF:
        try:
            _PROMPTS_BY_ITSELF[template] = not find_gap(tokenizer).is_open
        except ValueError:  # it has no prompt that could be learnt
            _PROMPTS_BY_ITSELF[template] = False
    return _PROMPTS_BY_ITSELF[template]


_PROMPTS_BY_ITSELF: dict[str, bool] = {}


@dataclass(frozen=True, slots=True)
class Gap:
    """How a template's own prompt, for an answer that is yet to come, ends otherwise than what stands before one."""

    shared: str
    """What both have behind the question."""
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
    turns = arrange_turns(tokenizer, QUESTION)
    try:
        own = render(tokenizer, turns, add_generation_prompt=True, **(options or {}))
        before = render_before_answer(tokenizer, turns, options)
    except Exception as error:  # whatever a template raises to refuse
        raise ValueError(f"it refuses a conversation that ends with an answer ({error})") from error
    head = _find_head(own)
    if not head or not before.startswith(head):
        raise ValueError("it leaves the question out, or writes it otherwise once an answer follows")
    num_shared = len(commonprefix([own, before]))  # noqa: RUF071 - these are texts, not paths
    return Gap(own[len(head) : num_shared], own[num_shared:], before[num_shared:])


def _find_head(prompt: str) -> str:
    """Return a template's own prompt for `QUESTION` up to the end of what the user says."""
    return prompt[: prompt.rfind(MARKS[1]) + 1]


def render_before_answer(tokenizer: Any, turns: Sequence[Message], options: Mapping[str, Any] | None = None) -> str:
    """Return what stands before the answer to turns that are arranged already.

    Args:
        tokenizer: With the template.
        turns: All but the answer.
        options: Of the template, beside those that are set in it.

    Raises:
        ValueError: if the template leaves an answer out.
    """
    text = render(tokenizer, [*turns, {"role": "assistant", "content": MARKS[2]}], **(options or {}))
    place = text.rfind(MARKS[2])
    if place < 0:
        raise ValueError("the chat template leaves an answer out")
    return text[:place]


def render(tokenizer: Any, turns: Sequence[Message], **options: Any) -> str:
    """Return what a template makes of turns and options."""
    text: str = tokenizer.apply_chat_template(list(turns), tokenize=False, **options)
    return text

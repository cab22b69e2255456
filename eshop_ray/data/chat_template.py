"""Chat messages -> the text of a prompt and of an answer, the same in training and in inference.

A prompt is what a whole conversation has before its answer. That is not always what a template writes where an answer
is yet to come: Qwen3 puts an empty thinking block before an answer and not into the prompt, DeepSeek-R1's distills
begin a thought in the prompt that their history does not have. What is asked is what was learnt, whatever the template.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from eshop_ray.schema import Message

MARKS = ("\ue000", "\ue001", "\ue002")
"""Contents of messages to find again in a rendered text: private characters, which templates pass on as they are."""


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return what a conversation has before the answer to these messages.

    Raises:
        ValueError: if the template leaves an answer out.
    """
    return render_before_answer(tokenizer, arrange_turns(tokenizer, messages))


def render_answer(tokenizer: Any, messages: Sequence[Message], answer: str) -> str:
    """Return what a conversation has from the answer on, with what the template puts behind it.

    Raises:
        ValueError: if the template changes what stands before an answer by what the answer is.
    """
    prompt = render_prompt(tokenizer, messages)
    turns = [*arrange_turns(tokenizer, messages), {"role": "assistant", "content": answer}]
    text = render(tokenizer, turns)
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
            _TAKES_SYSTEM[template] = MARKS[0] in head and render_before_answer(tokenizer, turns).startswith(head)
        except Exception:  # whatever a template raises to refuse
            _TAKES_SYSTEM[template] = False
    return _TAKES_SYSTEM[template]


_TAKES_SYSTEM: dict[str, bool] = {}


def _find_head(tokenizer: Any, turns: Sequence[Message]) -> str:
    """Return a template's own prompt up to the end of what the user says."""
    own = render(tokenizer, turns, add_generation_prompt=True)
    return own[: own.rfind(MARKS[1]) + 1]


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

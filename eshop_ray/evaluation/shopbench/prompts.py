"""A question's text and a strategy -> what the model is asked. Nothing else of the question is known here."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from eshop_ray.config import Config, PromptStrategy
from eshop_ray.config.shopbench import PromptExample
from eshop_ray.data.sources.repairs import option_numbers
from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.questions import Question, read_questions
from eshop_ray.evaluation.shopbench.task_types import TaskType, infer_task_type, is_arithmetic
from eshop_ray.reporting.words import count
from eshop_ray.schema import Message, Record, content_id
from eshop_ray.tasks import get_task
from eshop_ray.tasks.ranking import MAX_OPTIONS

VERSION = 1
"""Raise it when wording or inference of types changes: answers of two versions do not compare."""

REMINDERS: Mapping[TaskType, str] = MappingProxyType(
    {
        "multiple_choice": "Answer with the number of one option and nothing else.",
        "classification": "Answer with yes or no and nothing else.",
        "ranking": "Answer with the numbers of all options, the best first, separated by commas, and nothing else.",
        "retrieval": "Answer with the numbers of the options, three at most, separated by commas, and nothing else.",
        "ner": "Answer with words of the text, several separated by commas, and nothing else.",
        "generation": "Answer with the text that is asked for and nothing else.",
    }
)
"""Task type -> the form in which the benchmark's parser reads an answer."""

THINK = "Let's think step by step."
CONCLUDE = "So the number of the right option is:"
"""Source: Kojima et al., "Large Language Models are Zero-Shot Reasoners", 2022: one prompt for the reasoning, one for
the answer in it."""

Examples = Mapping[TaskType, Sequence[PromptExample]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked."""

    task_type: TaskType
    messages: list[Message]
    sampling_params: dict[str, Any]
    thought: dict[str, Any] | None = None
    """Sampling parameters of a thought that comes before the answer; None: the answer comes at once."""
    system_prefix: str = ""
    """What the thought is asked under: neither instruction nor examples, which are for answers at once."""

    def ask_thought(self) -> list[Message]:
        """Return the messages that ask for the thought."""
        system = [{"role": "system", "content": self.system_prefix}] if self.system_prefix else []
        return [*system, self._ask_to_think()]

    def conclude(self, thought: str) -> list[Message]:
        """Return the messages that ask for the answer that a thought came to."""
        turns = [{"role": "assistant", "content": thought}, {"role": "user", "content": CONCLUDE}]
        return [*self.messages[:-1], self._ask_to_think(), *turns]

    def _ask_to_think(self) -> Message:
        return {"role": "user", "content": f"{self.messages[-1]['content']}\n{THINK}"}


def build_prompt(text: str, strategy: PromptStrategy, examples: Examples, temperature: float) -> Prompt:
    """Write the prompt of one question.

    Args:
        text: The question as the benchmark has it; its type is inferred from it.
        strategy: How.
        examples: From `collect_examples`.
        temperature: Of sampling.
    """
    task_type = infer_task_type(text)
    task = get_task(task_type)
    params: dict[str, Any] = {"temperature": temperature, "max_tokens": task.max_tokens}
    output = task.output(_to_record(text, task_type)) if strategy.constrained else None
    if output is not None:
        params["structured_outputs"] = output
    reminder = f"\n{REMINDERS[task_type]}" if strategy.format_reminder else ""
    messages = [{"role": "system", "content": f"{strategy.system_prefix} {task.instruction}".strip()}]
    for example in examples.get(task_type, ()):
        messages += [
            {"role": "user", "content": example.prompt + reminder},
            {"role": "assistant", "content": example.answer},
        ]
    messages.append({"role": "user", "content": text + reminder})
    thinks = strategy.chain_of_thought and task_type == "multiple_choice" and is_arithmetic(text)
    thought = {"temperature": temperature, "max_tokens": strategy.max_thought_tokens} if thinks else None
    return Prompt(task_type, messages, params, thought, strategy.system_prefix)


def _to_record(text: str, task_type: TaskType) -> Record:
    """Return the fields by which a task says what decoding may produce."""
    if task_type == "classification":
        return {"text": text, "labels": ["no", "yes"]}
    numbers = option_numbers(text)
    if task_type == "ranking" and 1 < len(numbers) < MAX_OPTIONS:
        return {"prompt": text, "options": numbers}
    return {"prompt": text}


def collect_examples(config: Config, strategy: PromptStrategy, asked: Iterable[Question]) -> Examples:
    """Return the examples of each type: those of the config, then those drawn from `examples_path`.

    Args:
        config: Of the run.
        strategy: Whose examples.
        asked: Questions of the benchmark, none of which is ever an example.

    Raises:
        UserError: if the file cannot be read, has no answers, or too few questions of a type that it has.
    """
    examples: dict[TaskType, list[PromptExample]] = defaultdict(list)
    for example in strategy.examples:
        examples[infer_task_type(example.prompt)].append(example)
    if strategy.examples_path is not None:
        kept_out = {question.prompt for question in asked}
        for task_type, drawn in _draw(config, strategy.examples_path, strategy.num_examples, kept_out).items():
            examples[task_type] += drawn
    return examples


def _draw(config: Config, pattern: str, number: int, kept_out: set[str]) -> dict[TaskType, list[PromptExample]]:
    found = read_questions(config, pattern)
    if not found.has_gold:
        raise UserError(f"`examples_path` {pattern}: its questions have no answers (`output_field`)")
    by_type: dict[TaskType, list[PromptExample]] = defaultdict(list)
    for question in sorted(found.questions, key=lambda one: content_id(str(config.seed), one.prompt)):
        if question.gold and question.prompt not in kept_out:
            answer = get_task(question.gold.task).format_target(question.gold.target)
            drawn = by_type[question.gold.task]
            drawn += [PromptExample(prompt=question.prompt, answer=answer)] if len(drawn) < number else []
    for task_type, drawn in by_type.items():
        if len(drawn) < number:
            raise UserError(
                f"`examples_path` {pattern}: only {count(len(drawn), 'question')} of type {task_type} that "
                f"{'is' if len(drawn) == 1 else 'are'} not asked, fewer than `num_examples` {number}"
            )
    return by_type

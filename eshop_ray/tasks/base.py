"""What a task is: how to ask, how to read the answer, how it is scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eshop_ray.schema import Message, Record
from eshop_ray.tasks.heads import Head
from eshop_ray.tasks.product import ProductForm

Output = dict[str, Any]
"""What decoding may produce, in vLLM's words: `{"choice": [...]}`, `{"regex": ...}` or `{"json": ...}`."""


def free_text(record: Record) -> None:
    """Leave decoding unconstrained."""


def first_reference(target: str | Sequence[str]) -> str:
    """Return the text to learn from: the target itself, or the first of several references."""
    return target if isinstance(target, str) else target[0]


def number_options(options: Sequence[str], start: int) -> str:
    """Write one numbered option a line, the way the published questions do."""
    return "\n".join(f"{number}. {option}" for number, option in enumerate(options, start))


@dataclass(frozen=True, slots=True)
class Task:
    """One task, complete: prompts, parser and metric are found here and nowhere else.

    The instruction is the same for all rows of a task and comes first, the row's own text last: the engine's
    prefix cache and the trainer's packing both live on that.
    """

    name: str
    """The module's name under `eshop_ray.tasks`."""
    version: int
    """Raise it when prompt or parser changes: scores of two versions do not compare."""
    instruction: str
    """System message, shared by every row."""
    format_input: Callable[[Record], str]
    """Record -> user message. Raises KeyError naming a missing field."""
    format_target: Callable[[Any], str]
    """Target -> the assistant's turn."""
    parse: Callable[[str], Any]
    """Generated text -> prediction (JSON-compatible). Never raises."""
    unparsed: Any
    """The prediction that means the answer could not be read."""
    metric: str
    """Default metric, a key of `eshop_ray.tasks.metrics.METRICS`; a row's own `metric` wins."""
    max_tokens: int
    """Upper limit of generated tokens."""
    output: Callable[[Record], Output | None]
    """Record -> constraint on decoding, or None for free text."""
    examples: tuple[Record, ...]
    """Worked records with targets: documentation, and the rows of the contract test."""
    product: ProductForm | None = None
    """How it is asked about a product of a catalogue; None: it is not, and cannot be one of `enrich.tasks`."""
    heads: tuple[Head, ...] = ()
    """How it is put to a model that does not write, an encoder: a message is for the first head that can read it. None:
    its answers have to be written."""
    column: Literal["text", "entities"] | None = None
    """Typed column of the enriched table for its predictions: `text` for strings, `entities` for pairs of text and
    type, or for a mapping of type to text. The table has every prediction as JSON text besides."""

    def build_messages(self, record: Record) -> list[Message]:
        """Return the system and the user message for a record."""
        return [
            {"role": "system", "content": self.instruction},
            {"role": "user", "content": self.format_input(record)},
        ]

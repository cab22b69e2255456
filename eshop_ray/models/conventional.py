"""Folders of conventional models: encoders with heads, sequence-to-sequence models, causal ones without chat template.

```
conventional.json       the architecture, the heads with their labels, how much the model reads
config.json, tokenizer  of the source
heads/HEAD/             of an encoder: a whole model of Transformers for each head
model.safetensors       of the others
```
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eshop_ray.artifacts import AnyFolder, write_json
from eshop_ray.errors import UserError
from eshop_ray.models.folders import load_tokenizer
from eshop_ray.places import place_of
from eshop_ray.tasks.heads import Kind

SPEC = "conventional.json"
HEADS = "heads"


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One head of an encoder."""

    name: str
    task: str
    kind: Kind
    labels: tuple[str, ...]
    """What it tells apart, by number; one for candidates, their score."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a conventional model is."""

    architecture: str
    """`encoder`, `seq2seq` or `causal`."""
    max_length: int
    """Tokens that it reads at most; a causal model has to find room for its answer among them."""
    pretrained: bool
    """Whether it began with weights that had learned something, or with random ones."""
    tasks: tuple[str, ...]
    """What it was trained for."""
    heads: tuple[HeadSpec, ...] = ()
    """Of an encoder."""

    def find_head(self, task: str, kind: Kind) -> int | None:
        """Return the number of a task's head; None if it was not trained."""
        numbers = (number for number, head in enumerate(self.heads) if (head.task, head.kind) == (task, kind))
        return next(numbers, None)


def write_spec(folder: Path, spec: Spec) -> None:
    """Write what a model is into its folder."""
    write_json(folder / SPEC, asdict(spec))


def read_spec(folder: Path) -> Spec:
    """Return what the model of a folder is.

    Raises:
        UserError: if it is none of these.
    """
    try:
        content = json.loads((folder / SPEC).read_text())
        heads = tuple(HeadSpec(**{**head, "labels": tuple(head["labels"])}) for head in content.pop("heads"))
        return Spec(**{**content, "tasks": tuple(content["tasks"])}, heads=heads)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{place_of(folder)}: no conventional model ({SPEC}: {type(error).__name__}); run `eshop train-encoder`"
        ) from error


def load_plain_tokenizer(place: AnyFolder) -> Any:
    """Return the tokenizer of a folder, which needs no chat template; it has a token to pad with.

    Raises:
        UserError: if there is none, or it does not tell where its tokens stand in a text.
    """
    tokenizer = load_tokenizer(place, for_chat=False)
    if not tokenizer.is_fast:
        raise UserError(f"model folder {Path(place)}: the tokenizer has no fast form (tokenizer.json); save it as one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked wherever it pads
    return tokenizer

"""The work that a training step cannot do without, in floating point operations.

Per token of a pack, a shared prefix counted once:
    frozen projections      2 forward + 2 backward (towards the activations) per weight
    adapter                 2 forward + 4 backward (activations and weights) per weight
Per answer token:
    head                    2 forward + 2 backward per weight; it is frozen
Per pair of tokens that look at one another, and layer:
    attention               4 forward + 8 backward per channel of the queries
The first layer's input needs no gradient, so its query, key and value projections have no backward product to it.
Norms, activations, the optimizer and whatever is computed twice or for padding count nothing.
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder with gated feed-forward layers."""

    num_layers: int
    hidden: int
    intermediate: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocabulary: int

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the projections of one layer: query, key and value first."""
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        attention = ((self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden))
        return *attention, *((self.hidden, self.intermediate),) * 2, (self.intermediate, self.hidden)


def read_shape(model_dir: Path) -> Shape:
    """Return the sizes of a model folder."""
    config = json.loads((model_dir / "config.json").read_text())
    heads = config["num_attention_heads"]
    return Shape(
        num_layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads", heads),
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
    )


def count_pairs(prefix: int, rows: list[int]) -> int:
    """Return how many pairs a group's attention has: causal, every row at the prefix and at itself."""
    return prefix * (prefix + 1) // 2 + sum(row * prefix + row * (row + 1) // 2 for row in rows)


def count_pack(shape: Shape, rank: int, groups: list[tuple[int, list[int]]], answers: int) -> int:
    """Return the operations of forward and backward pass of one pack.

    Args:
        shape: The model.
        rank: Of the adapter on every projection.
        groups: Prefix length and own lengths of the rows, for each group.
        answers: Tokens that the head runs for.
    """
    tokens = sum(prefix + sum(rows) for prefix, rows in groups)
    weights = sum(inputs * outputs for inputs, outputs in shape.projections)
    adapter = sum(rank * (inputs + outputs) for inputs, outputs in shape.projections)
    no_gradient = sum(inputs * (outputs + rank) for inputs, outputs in shape.projections[:3])
    body = tokens * (shape.num_layers * (4 * weights + 6 * adapter) - 2 * no_gradient)
    pairs = sum(count_pairs(prefix, rows) for prefix, rows in groups)
    attention = 12 * shape.num_layers * pairs * shape.num_heads * shape.head_dim
    return body + attention + 4 * shape.hidden * shape.vocabulary * answers

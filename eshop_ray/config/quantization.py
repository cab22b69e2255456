"""The section of a config that `quantize` and its gate read."""

from typing import Literal

from eshop_ray.config.base import Section, Share


class QuantizeSection(Section):
    """The model in 8 bits that `quantize` writes into `quantized/` of the run directory."""

    scheme: Literal["w8a8"] = "w8a8"
    """`w8a8`: int8 weights, one scale per output channel, and int8 activations, one scale per token, taken as they
    come: no calibration data."""
    model: Literal["base", "merged"] = "merged"
    """Which model is quantized."""
    ignore: tuple[str, ...] = ()
    """Layers that stay as they are, by name, `*` standing for anything: `*.down_proj`, `model.layers.0.*`; the head
    and the embeddings always do."""
    max_lost_share: Share = 0.05
    """`evaluate` ends with status 2 if the quantized model loses more than this share of the score that
    `quantize.model` has in any group."""

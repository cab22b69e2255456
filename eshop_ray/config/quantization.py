"""The section of a config that `quantize` and its gate read."""

from typing import Literal

from eshop_ray.config.base import PositiveInt, Section, Share


class QuantizeSection(Section):
    """The smaller model that `quantize` writes into `quantized/` of the run directory."""

    scheme: Literal["w8a8", "fp8", "w4a16_gptq", "w4a16_awq"] = "w8a8"
    """`w8a8`: int8 weights, one scale per output channel, and int8 activations, one scale per token, taken as they
    come. `fp8`: the same in 8-bit floats. `w4a16_gptq`, `w4a16_awq`: int4 weights, one scale per group of 128, 64 or 32
    inputs, by GPTQ or AWQ, calibrated on training rows. All but `w8a8` are written by llm-compressor."""
    model: Literal["base", "merged"] = "merged"
    """Which model is quantized."""
    ignore: tuple[str, ...] = ()
    """Layers that stay as they are, by name, `*` standing for anything: `*.down_proj`, `model.layers.0.*`; the head
    and the embeddings always do."""
    num_calibration_rows: PositiveInt = 512
    """Rows of the split `train`, prompt and answer, by which `w4a16_gptq` and `w4a16_awq` are calibrated: as many of
    every task, always the same ones, cut to `train.max_row_length`."""
    use_gpu: bool = False
    """Calibrate on one GPU."""
    max_lost_share: Share = 0.05
    """`evaluate` ends with status 2 if the quantized model loses more than this share of the score that
    `quantize.model` has in any group."""

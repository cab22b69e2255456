"""Which precision matrix products run in, where the config leaves it to the machine."""

from typing import TypeVar

import torch

from eshop_ray.config import LearningSection

Learning = TypeVar("Learning", bound=LearningSection)


def choose_precision(train: Learning) -> Learning:
    """Return the section with `precision: auto` settled.

    bf16 is faster where the hardware multiplies matrices in it: on GPUs, and on processors with AMX. On others fp32
    is, by half on the one it was measured on.
    """
    if train.precision != "auto":
        return train
    has_matrix_units = train.use_gpu or torch.cpu._is_amx_tile_supported()
    return train.model_copy(update={"precision": "bf16" if has_matrix_units else "fp32"})

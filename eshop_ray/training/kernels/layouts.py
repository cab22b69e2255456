"""Which way of attention a run takes, and the layout of a pack for it."""

import torch

from eshop_ray.training.kernels.attention import Layout, MaskLayout
from eshop_ray.training.kernels.flex import SPAN, FlexLayout
from eshop_ray.training.kernels.gather import GatherLayout
from eshop_ray.training.packing.pack import Pack


def choose_attention(requested: str, device: torch.device, has_dropout: bool = False) -> str:
    """Return the way to take: `auto` is `flex` where Triton compiles for the device, else `gather`.

    Args:
        requested: `train.attention`.
        device: Where the model is trained.
        has_dropout: Whether the base's attention has dropout, for which there is no `flex`.
    """
    if requested != "auto":
        return requested
    compiles = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "flex" if compiles and not has_dropout else "gather"


def build_layout(pack: Pack, attention: str, device: torch.device) -> Layout:
    """Prepare the attention of a pack, once for all layers.

    Args:
        pack: The rows.
        attention: `mask`, `gather` or `flex`.
        device: Where the model is.
    """
    if attention == "mask":
        return MaskLayout(torch.from_numpy(pack.attention_mask()).to(device))
    if attention == "flex":
        return FlexLayout.build(pack, device, SPAN)
    return GatherLayout.build(pack, device)

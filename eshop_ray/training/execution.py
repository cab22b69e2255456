"""A model made ready to compute packs, and in less time: nothing is replaced that does not compute the same."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from eshop_ray.config import TrainSection
from eshop_ray.errors import UserError
from eshop_ray.training.isolation import Trial, keeps_rows_apart, rounding_noise, try_alone
from eshop_ray.training.kernels.attention import has_dropout, use_layouts
from eshop_ray.training.kernels.layouts import choose_attention
from eshop_ray.training.kernels.substitutes import Substitutes, substitute_layers
from eshop_ray.training.model import get_causal_lm

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Execution:
    """How a model computes its packs."""

    attention: str
    """`mask`, `gather` or `flex`."""
    is_packed: bool
    """Whether several rows share a pass; else the model would not keep them apart."""

    @classmethod
    def prepare(cls, model: Any, train: TrainSection, device: torch.device, replaces_head: bool) -> "Execution":
        """Replace a model's attention and, where an adapter is trained, layers; what computes something else stays.

        Args:
            model: A causal LM of Transformers, or PEFT's wrapper of one; whole, on the CPU or where it is trained.
            train: Method, precision and attention.
            device: Where it is trained.
            replaces_head: See `substitute_layers`.

        Raises:
            UserError: if no way of computing packs gives what Transformers' own attention gives, or the model fails.
        """
        own = _try_own(model, train.precision)
        use_layouts(get_causal_lm(model))
        wanted = choose_attention(train.attention, device, has_dropout(get_causal_lm(model).config))
        ways = [wanted] if wanted == "mask" else [wanted, "mask"]
        taken = substitute_layers(model, train.precision, replaces_head) if train.method == "lora" else Substitutes()
        attention = _find_way(model, train.precision, ways, own)
        if attention is None and taken.counts:
            taken.undo()
            attention = _find_way(model, train.precision, ways, own)
            logger.warning("layers that were replaced did not compute what this model's own do; they were taken back")
        if attention is None:
            raise UserError(
                f"this base ({get_causal_lm(model).config.model_type}) cannot be trained here: packs are computed with "
                "an attention that gives other losses than its own; take another base"
            )
        if attention != wanted:
            logger.warning("`%s` attention does not compute what this model's own does; taking `mask`", wanted)
        is_packed = keeps_rows_apart(model, train.precision, attention)
        if not is_packed:
            logger.warning(
                "this model does not keep the rows of a pack apart: it has layers that are no attention, or an "
                "attention of its own. Each pass takes one row, which is slower"
            )
        return cls(attention, is_packed)


def _try_own(model: Any, precision: str) -> Trial:
    """Return what a model says before anything is replaced."""
    try:
        return try_alone(model, precision)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"this base ({get_causal_lm(model).config.model_type}) cannot be trained here: it fails with a row of "
            f"tokens ({type(error).__name__}: {str(error)[:300]}); take another base"
        ) from error


def _find_way(model: Any, precision: str, ways: Sequence[str], own: Trial) -> str | None:
    """Return the first way of attention by which a model still says of a row what it said by itself."""
    return next((way for way in ways if _computes(model, precision, way, own)), None)


def _computes(model: Any, precision: str, attention: str, own: Trial) -> bool:
    """Whether a model still says of a row what it said by itself."""
    try:
        found = try_alone(model, precision, attention)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        logger.warning("`%s` attention fails with this model: %s: %s", attention, type(error).__name__, error)
        return False
    return found.is_like(own, precision) or found.is_like(
        own, precision, rounding_noise(model, precision, attention, found)
    )

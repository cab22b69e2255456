"""What a base has to be for an adapter to learn from it, and to be folded into it."""

import json
from pathlib import Path

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.training.kernels.attention import check_kind, check_window, has_dropout


def find_quantization(model_dir: Path) -> str | None:
    """Return how a model's weights are kept in fewer bits; None if they are not."""
    config = json.loads((model_dir / "config.json").read_text())
    kept = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    return (kept.get("quant_method") or kept.get("quant_algo") or "some method of its own") if kept else None


def check_unquantized(model_dir: Path) -> None:
    """Refuse a base whose weights are kept in fewer bits: what is added to them is lost, or cannot be added.

    Raises:
        UserError: naming the way out.
    """
    method = find_quantization(model_dir)
    if method:
        raise UserError(
            f"the base {model_dir} is kept quantized ({method}): an adapter learns from weights with all their bits, "
            "and is folded into them. Set `model.source` to the model before it was quantized, and quantize the merged "
            "one with `eshop quantize`; to train in little memory, there is `train.method: qlora`"
        )


def check_causal(model_dir: Path) -> None:
    """Refuse a base that Transformers does not load as a causal language model.

    Raises:
        UserError: naming its kind.
    """
    try:
        config = AutoConfig.from_pretrained(model_dir)
    except (OSError, ValueError) as error:
        raise UserError(
            f"Transformers cannot read the base's {model_dir / 'config.json'}: {str(error)[:300]}"
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        more = "" if config.get_text_config() is config else ", as it reads more than text"
        raise UserError(
            f"the base {model_dir} is a `{config.model_type}`, of which Transformers has no causal language model"
            f"{more}; set `model.source` to a text model, or save this one's text part as a model of its own"
        )


def check_parts(model_dir: Path, max_row_length: int, attention: str) -> None:
    """Find out from configs and tokenizer, before weights are loaded, what would fail or go wrong in a worker.

    Args:
        model_dir: The base.
        max_row_length: Tokens of a row at most.
        attention: `train.attention`.

    Raises:
        UserError: if the attention is of a kind that packs cannot compute, its window is too short, the tokenizer knows
            tokens that the model does not, or an answer has no end.
    """
    config = AutoConfig.from_pretrained(model_dir)
    try:
        with torch.device("meta"):
            outline = AutoModelForCausalLM.from_config(config)
    except (TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"Transformers builds no causal language model from {model_dir}: {str(error)[:300]}") from error
    check_kind(config, outline)
    check_window(config, max_row_length)
    if attention == "flex" and has_dropout(config):
        raise UserError(
            "`train.attention: flex`: this base's attention has dropout, which flex attention has not; set "
            "`train.attention: auto`"
        )
    tokenizer, num_known = load_tokenizer(model_dir), outline.get_input_embeddings().num_embeddings
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer of {model_dir} has no `eos_token`, with which a model ends its answers; set it in "
            "tokenizer_config.json"
        )
    if len(tokenizer) > num_known:
        raise UserError(
            f"the tokenizer of {model_dir} has {len(tokenizer)} tokens, and the model knows {num_known}: they are not "
            "of one model, or tokens were added without `resize_token_embeddings`"
        )

"""Folding an adapter into its base: one model that every engine loads."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from eshop_ray.artifacts import read_manifest, stage_dir, write_manifest
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer


def check_adapter(adapter_dir: Path, model_dir: Path, base_digest: str) -> None:
    """Refuse an adapter that was trained on another base: its shapes may fit and its answers be nonsense.

    Raises:
        UserError: naming both models.
    """
    manifest = read_manifest(adapter_dir, job="train_lora")
    trained_on = manifest.parents.get("base")
    if trained_on != base_digest:
        settings = json.loads((adapter_dir / "adapter_config.json").read_text())
        raise UserError(
            f"adapter {adapter_dir} was trained on {settings.get('base_model_name_or_path')} "
            f"(digest {str(trained_on)[:12]}), but `model.source` is {model_dir} (digest {base_digest[:12]}); "
            "set `model.source` to the adapter's base, or train again"
        )


def fold_adapter(model_dir: Path, adapter_dir: Path) -> Any:
    """Return the base with the adapter's updates added to its weights, in fp32.

    The sum is taken in fp32 and rounded once, on saving: a bf16 sum would lose small updates.
    """
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(adapter_dir)).merge_and_unload(safe_merge=True)


def read_dtype(model_dir: Path) -> str:
    """Return the precision a model was saved in: `dtype`, or `torch_dtype` before Transformers 5."""
    config = json.loads((model_dir / "config.json").read_text())
    return str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")


def write_merged(model_dir: Path, adapter_dir: Path, merged_dir: Path, inputs: str, parents: dict[str, str]) -> None:
    """Write the merged model with its tokenizer, in the base's precision.

    Raises:
        UserError: if the adapter was trained on another base.
    """
    check_adapter(adapter_dir, model_dir, parents["base"])
    dtype = read_dtype(model_dir)
    with stage_dir(merged_dir) as folder:
        fold_adapter(model_dir, adapter_dir).to(getattr(torch, dtype)).save_pretrained(folder)
        load_tokenizer(model_dir).save_pretrained(folder)
        write_manifest(folder, "model", inputs, parents, {"dtype": dtype})

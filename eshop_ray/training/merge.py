"""Folding an adapter into its base: one model that every engine loads. A fully trained model only changes precision."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from eshop_ray.artifacts import find_changes, read_manifest, stage_dir, write_manifest
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.training.adapter import SETTINGS


def check_adapter(adapter_dir: Path, model_dir: Path, base_digest: str) -> None:
    """Refuse an adapter that was trained on another base, whose shapes may fit and whose answers would be nonsense, and
    one that is not as training left it.

    Raises:
        UserError: naming both models, or the file that changed.
    """
    manifest = read_manifest(adapter_dir, job="train_lora")
    trained_on = manifest.parents.get("base")
    if trained_on != base_digest:
        raise UserError(
            f"adapter {adapter_dir} was trained on {_read_base(adapter_dir)} (digest {str(trained_on)[:12]}), but "
            f"`model.source` is {model_dir} (digest {base_digest[:12]}); "
            "set `model.source` to the adapter's base, or train again"
        )
    changes = find_changes(adapter_dir, manifest)
    if changes:
        raise UserError(f"adapter {adapter_dir} is damaged ({changes[0]}); put the file back, or train again")


def fold_adapter(model_dir: Path, adapter_dir: Path) -> Any:
    """Return the trained model in fp32: the base with the adapter's updates added, or the fully trained model itself.

    The sum is taken in fp32 and rounded once, on saving: a bf16 sum would lose small updates. An adapter that was
    trained on a base in 4 bits is folded into the base as it is on disk.

    Raises:
        UserError: if the adapter's weights are not finite.
    """
    if not (adapter_dir / SETTINGS).is_file():
        return AutoModelForCausalLM.from_pretrained(adapter_dir, dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    try:
        return PeftModel.from_pretrained(base, str(adapter_dir)).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise UserError(f"adapter {adapter_dir} cannot be folded ({str(error)[:200]}); train again") from error


def read_dtype(model_dir: Path) -> str:
    """Return the precision a model was saved in: `dtype`, or `torch_dtype` before Transformers 5."""
    config = json.loads((model_dir / "config.json").read_text())
    return str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")


def write_merged(model_dir: Path, adapter_dir: Path, merged_dir: Path, inputs: str, parents: dict[str, str]) -> None:
    """Write the merged model with its tokenizer, in the base's precision.

    Raises:
        UserError: if the adapter was trained on another base, is damaged or not finite.
    """
    check_adapter(adapter_dir, model_dir, parents["base"])
    dtype = read_dtype(model_dir)
    with stage_dir(merged_dir) as folder:
        fold_adapter(model_dir, adapter_dir).to(getattr(torch, dtype)).save_pretrained(folder)
        load_tokenizer(model_dir).save_pretrained(folder)
        write_manifest(folder, "model", inputs, parents, {"dtype": dtype})


def _read_base(adapter_dir: Path) -> str:
    """Return what PEFT notes as the base; a fully trained model has no such note."""
    settings = adapter_dir / SETTINGS
    named = json.loads(settings.read_text()).get("base_model_name_or_path") if settings.is_file() else None
    return str(named or "another model")

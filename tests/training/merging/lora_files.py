"""Adapters with random values, as training leaves them, and PEFT's own way of combining them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from eshop_ray import artifacts
from eshop_ray.models import model_digest
from eshop_ray.training.merging.adapters import AdapterFile

MODULES = ["q_proj", "k_proj", "down_proj"]


def save_adapter(model_dir: Path, folder: Path, seed: int, base: str | None = None, **settings) -> AdapterFile:
    """Write an adapter to `folder`/adapter; `base` is the digest that its manifest names."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": MODULES, "task_type": "CAUSAL_LM", **settings}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_dir), LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if "lora_" in name and "magnitude" not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    artifacts.write_manifest(folder / "adapter", "adapter", "inputs", {"base": base or model_digest(model_dir)})
    return AdapterFile.open(folder / "adapter")


def load_peft(model_dir: Path, adapters: Sequence[AdapterFile]) -> PeftModel:
    """Return a model with all the adapters, under their names."""
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(adapters[0].folder), adapter_name=adapters[0].name)
    for adapter in adapters[1:]:
        model.load_adapter(str(adapter.folder), adapter_name=adapter.name)
    return model

"""The model that is trained: a base with an adapter, a base in 4 bits with an adapter, or all of a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.models.processors import copy_processors
from eshop_ray.training.adapter import check_adapter_settings, load_initial
from eshop_ray.training.adapter_options import build_lora_config
from eshop_ray.training.adapter_senses import add_adapter
from eshop_ray.training.adapter_start import begin_orthogonal, freeze_a
from eshop_ray.training.base_model import check_causal, check_unquantized


def check_method(train: TrainSection, lora: LoraSection, model_dir: Path) -> None:
    """Find out on the driver, before anything is loaded, whether the method can be had.

    Raises:
        UserError: if the section `lora` does not fit PEFT, the base, or `lora.init_from`; if `qlora` does not run
            here; if settings exclude one another; if the base is quantized, or no causal language model.
    """
    if train.method == "full":
        if lora.init_from:
            raise UserError("`lora.init_from` needs an adapter, and `train.method: full` trains none; leave it out")
        check_unquantized(model_dir)
        check_causal(model_dir)
        return
    if train.method == "qlora":
        if train.sharding == "fsdp":
            raise UserError(
                "`train.method: qlora` keeps its base in 4 bits, which `train.sharding: fsdp` cannot share out; "
                "set `train.method: lora` or `train.sharding: replicate`"
            )
        _check_quantization(train.use_gpu)
    check_unquantized(model_dir)
    check_causal(model_dir)
    check_adapter_settings(model_dir, lora, train.method)


def build_model(model_dir: Path, train: TrainSection, lora: LoraSection, seed: int, device: torch.device) -> Any:
    """Return the model, in training mode, the same one for the same seed.

    It is on the CPU yet, so that `Parallelism.prepare` can share out a model that outgrows the device; only a base
    in 4 bits is on `device`, where it is quantised.

    Frozen weights are fp32; for `bf16` the frozen projections are stored as autocast would cast them anew in every
    pass: the same numbers, half the memory, no cast. Trained weights are always fp32.

    Args:
        model_dir: The base.
        train: Method, precision and gradient checkpointing.
        lora: Settings of the adapter.
        seed: Of the adapter's first weights.
        device: Where it will be trained.
    """
    torch.manual_seed(seed)
    model = _load_base(model_dir, train, device)
    if train.method != "full":
        model = add_adapter(model, build_lora_config(lora))
        if lora.init_from:
            load_initial(model, lora)
        if lora.orthogonal:
            begin_orthogonal(model, lora.orthogonal, seed)
    if train.method == "lora" and train.precision == "bf16":
        halve_layers(model)
    if train.method != "full" and lora.freeze_a:
        freeze_a(model)  # after that: it is a part of the adapter, which is fp32
    if train.gradient_checkpointing:
        get_causal_lm(model).gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def get_causal_lm(model: Any) -> Any:
    """Return the model of Transformers, out of PEFT's wrapper if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def find_layers(model: Any) -> torch.nn.ModuleList:
    """Return the decoder layers of a causal LM; architectures name them differently."""
    decoder = get_causal_lm(model).get_decoder()
    return next(child for child in decoder.children() if isinstance(child, torch.nn.ModuleList))


def halve_layers(model: Any) -> None:
    """Store the frozen projections of a causal LM's layers in bf16, as autocast would cast them anew in every pass."""
    for layer in find_layers(model).modules():
        for weight in layer.parameters(recurse=False) if isinstance(layer, torch.nn.Linear) else ():
            if not weight.requires_grad:
                weight.data = weight.data.to(torch.bfloat16)


def save_trained(weights: Mapping[str, torch.Tensor], model: Any, folder: Path) -> None:
    """Write what was trained in the format that others read.

    Args:
        weights: Name -> trained weight, whole and on the CPU, as `collect_state` returns them.
        model: Of `build_model`; gives names and settings, not weights.
        folder: Gets the files of a PEFT adapter; for a fully trained model those of `from_pretrained`, with tokenizer.
    """
    if hasattr(model, "get_base_model"):
        model.save_pretrained(folder, state_dict=dict(weights), save_embedding_layers=False)
        return
    model.save_pretrained(folder, state_dict=dict(weights))
    base = Path(model.name_or_path)
    load_tokenizer(base).save_pretrained(folder)
    copy_processors(base, folder)


def _load_base(model_dir: Path, train: TrainSection, device: torch.device) -> Any:
    if train.method != "qlora":
        return AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        model_dir, dtype=torch.float32, quantization_config=quantization, device_map={"": device}
    )


def _check_quantization(use_gpu: bool) -> None:
    """Quantise a small tensor where training will run; the driver of a GPU run may have no GPU to try it on."""
    try:
        import bitsandbytes

        if torch.cuda.is_available() or not use_gpu:
            weight = torch.ones(64, 64, device="cuda" if use_gpu else "cpu")
            bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4")
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise UserError(
            "`train.method: qlora` needs the package bitsandbytes, and its nf4 for "
            f"{'GPUs' if use_gpu else 'CPUs'} does not run here ({type(error).__name__}: {str(error)[:200]}); "
            "install it on every node, or set `train.method: lora`"
        ) from error

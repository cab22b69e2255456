"""What `lora.options` may hold: fields of PEFT that go the whole road, from training to the merged model."""

import copy
import dataclasses
from typing import Any, get_type_hints

from peft import LoraConfig
from pydantic import TypeAdapter, ValidationError

from eshop_ray.config import LoraSection
from eshop_ray.errors import UserError, find_nearest

STARTS = (True, False, "gaussian", "orthogonal")
"""`init_lora_weights` that leave the base as it is and train both factors: others would not fold into the base on disk,
or would leave what is not trained out of the adapter."""

_OWN_NOTE = "is set by PEFT itself"
_OTHER_BASE = "changes the base's own weights, so that the adapter would not fit the base on disk"
_GPTQ = "is for bases that GPTQ has quantized, and those are not trained here"
_MEGATRON = "is for models of Megatron, and those are not trained here"
REFUSED = {
    **dict.fromkeys(("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type"), _OWN_NOTE),
    **dict.fromkeys(("peft_version", "revision", "task_type", "runtime_config"), _OWN_NOTE),
    **dict.fromkeys(("layer_replication", "loftq_config", "eva_config", "corda_config"), _OTHER_BASE),
    **dict.fromkeys(("lora_ga_config", "kasa_config"), _OTHER_BASE),
    **dict.fromkeys(("use_qalora", "qalora_group_size"), _GPTQ),
    **dict.fromkeys(("megatron_config", "megatron_core"), _MEGATRON),
    "monteclora_config": "needs a term in the loss that is not computed here",
    "alora_invocation_tokens": "updates some tokens of a text and not others, so that it cannot be folded into weights",
    "arrow_config": "chooses among adapters that are trained already, so that it cannot be folded into weights",
}
"""Fields of `peft.LoraConfig` that cannot be set, and why."""

NOT_IN_FOUR_BITS = ("bias", "use_bdlora", "velora_config")
"""Fields that PEFT's layers over 4 bits do without, or train in bf16."""


def build_lora_config(lora: LoraSection) -> LoraConfig:
    """Return PEFT's settings.

    Raises:
        UserError: if an option is unknown, cannot be had, has a field of its own in the section, or is refused by PEFT.
    """
    for name, value in lora.options.items():
        _check_option(name, value)
    own = {name: getattr(lora, name) for name in ("r", "lora_alpha", "lora_dropout")}
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    try:  # a copy, as PEFT adds to the lists that it is given
        return LoraConfig(**own, target_modules=modules, task_type="CAUSAL_LM", **copy.deepcopy(lora.options))
    except (TypeError, ValueError, ImportError) as error:
        raise UserError(f"`lora.options`: PEFT refuses them ({error})") from error


def check_four_bits(lora: LoraSection) -> None:
    """Refuse what cannot be trained over weights that are kept in 4 bits.

    Raises:
        UserError: naming the option.
    """
    found = [name for name in NOT_IN_FOUR_BITS if lora.options.get(name, "none") not in ("none", None)]
    if lora.options.get("init_lora_weights") == "orthogonal":
        found.append("init_lora_weights: orthogonal")
    if found:
        raise UserError(
            f"`lora.options.{found[0]}` cannot be trained over a base in 4 bits; leave it out, or set "
            "`train.method: lora`"
        )


def _check_option(name: str, value: Any) -> None:
    if name in LoraSection.model_fields:
        raise UserError(f"`lora.options.{name}`: set `lora.{name}` itself")
    known = {field.name for field in dataclasses.fields(LoraConfig)}
    if name not in known:
        near = find_nearest(name, sorted(known - REFUSED.keys()))
        raise UserError(f"`lora.options.{name}`: no option of peft.LoraConfig; did you mean `{near}`?")
    if name in REFUSED:
        raise UserError(f"`lora.options.{name}` {REFUSED[name]}; leave it out")
    if name == "init_lora_weights" and value not in STARTS:
        raise UserError(
            f"`lora.options.init_lora_weights: {value}` changes the base's own weights or keeps a part of the update "
            f"from training, so that the adapter would not fit the base on disk; set one of "
            f"{', '.join(map(str, STARTS))}"
        )
    try:
        TypeAdapter(get_type_hints(LoraConfig)[name]).validate_python(value, strict=False)
    except ValidationError as error:
        raise UserError(f"`lora.options.{name}: {value}`: {error.errors()[0]['msg']}") from error

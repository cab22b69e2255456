"""Parts of a base that read pictures or sound: nothing of what is trained here reaches them."""

import re
from typing import Any

from peft import LoraConfig, get_peft_model

from eshop_ray.errors import UserError


def add_adapter(base: Any, settings: LoraConfig) -> Any:
    """Return PEFT's wrapper of a base with a fresh adapter over what reads text.

    Layers that read pictures or sound learn nothing from text, though names in `target_modules` may fit theirs too.

    Args:
        base: A causal LM of Transformers.
        settings: Of the adapter; what they exclude themselves counts instead.
    """
    others = list_other_senses(base)
    if others and settings.exclude_modules is None:
        settings.exclude_modules = rf"({'|'.join(map(re.escape, others))})(\..*)?"
    return get_peft_model(base, settings)


def list_other_senses(base: Any) -> list[str]:
    """Return the parts of a base that read pictures or sound and not text; none for most.

    Args:
        base: A causal LM of Transformers; weights do not count.
    """
    if base.config.get_text_config() is base.config:
        return []
    readers = {id(part) for part in base.get_decoder().modules()}
    parents = {id(part) for part in base.modules() if readers & {id(below) for below in part.modules()}}
    head = base.get_output_embeddings()
    return [
        f"{name}.{child}" if name else child
        for name, parent in base.named_modules()
        if id(parent) in parents - readers
        for child, part in parent.named_children()
        if id(part) not in parents | readers and part is not head
    ]


def check_senses(model: Any) -> None:
    """Refuse to train what reads no text.

    Args:
        model: PEFT's wrapper of a base with an adapter; weights do not count.

    Raises:
        UserError: naming the part.
    """
    base = model.get_base_model()
    for part in list_other_senses(base):
        if any(weight.requires_grad for weight in base.get_submodule(part).parameters()):
            raise UserError(
                f"section `lora` trains {part}, which reads no text and would learn nothing; name it in "
                "`lora.options.exclude_modules`, or leave that option out and it is excluded; of biases, train only "
                "those of updated layers, by `bias: lora_only`"
            )

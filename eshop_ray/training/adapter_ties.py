"""Embeddings that a base ties: an adapter trains them as one, or cannot be merged."""

from typing import Any

from peft.tuners.lora import LoraLayer
from peft.utils import AuxiliaryTrainingWrapper, ModulesToSaveWrapper, TrainableTokensWrapper

from eshop_ray.config import LoraSection
from eshop_ray.errors import UserError


def find_split_embedding(model: Any) -> str | None:
    """Return the name of an embedding that is trained apart from the one that the base ties it to, None if none is.

    Such a model is none that the base's kind can hold: saved, the change would be in both embeddings or in none.

    Args:
        model: PEFT's wrapper of a base with an adapter; weights do not count.
    """
    base = model.get_base_model()
    first, last = base.get_input_embeddings(), base.get_output_embeddings()
    if last is None or _get_own_weight(first) is not _get_own_weight(last):
        return None
    trained = [end for end in (first, last) if isinstance(end, (LoraLayer, AuxiliaryTrainingWrapper))]
    if not trained or _are_one(first, last):
        return None
    names: dict[int, str] = {id(module): name for name, module in base.named_modules()}
    return names[id(trained[0])]


def check_tying(lora: LoraSection, model: Any) -> None:
    """Refuse to train tied embeddings apart, and to ask for ties that there are not.

    Args:
        lora: The section.
        model: As of `find_split_embedding`.

    Raises:
        UserError: naming the embedding, and how to train it.
    """
    settings, name = model.peft_config["default"], find_split_embedding(model)
    is_asked = bool(lora.options.get("ensure_weight_tying"))
    if name:
        raise UserError(
            f"section `lora` trains {name}, which the base ties to its other embedding, so that the update could not "
            f"be merged into one of them; {_advise(model.get_base_model().get_submodule(name), is_asked)}"
        )
    num_wrapped = sum(isinstance(module, TrainableTokensWrapper) for module in model.modules())
    if is_asked and not getattr(settings, "modules_to_tie", None) and num_wrapped < 2:
        raise UserError(
            "`lora.options.ensure_weight_tying`: the base ties no embeddings, or none of them is trained; leave it out"
        )


def _advise(embedding: Any, is_asked: bool) -> str:
    """Say how to train an embedding together with the one that it is tied to."""
    if isinstance(embedding, TrainableTokensWrapper):
        return "give `lora.options.trainable_token_indices` as a plain list of ids, which counts for both"
    if isinstance(embedding, ModulesToSaveWrapper) and not is_asked:
        return "add `ensure_weight_tying: true` to `lora.options`, and both are trained as one"
    whole = "name `lm_head` in `lora.options.modules_to_save`, with `ensure_weight_tying: true`"
    if isinstance(embedding, ModulesToSaveWrapper):
        return f"{whole}: PEFT knows them by that name"
    return (
        f"take it out of `lora.target_modules` and `target_parameters`; to train it all the same, {whole}, or some of "
        "its tokens in `lora.options.trainable_token_indices`"
    )


def _get_own_weight(module: Any) -> Any:
    """Return the weight of the base within PEFT's wrapper of a module."""
    if isinstance(module, AuxiliaryTrainingWrapper):
        module = module.original_module
    if isinstance(module, LoraLayer):
        module = module.get_base_layer()
    return getattr(module, "weight", None)


def _are_one(first: Any, last: Any) -> bool:
    """Whether two embeddings are trained as one; of two updates by LoRA, PEFT would fold both into the one weight."""
    if isinstance(first, ModulesToSaveWrapper) and isinstance(last, ModulesToSaveWrapper):
        return first.modules_to_save["default"].weight is last.modules_to_save["default"].weight
    if isinstance(first, TrainableTokensWrapper) and isinstance(last, TrainableTokensWrapper):
        return last.token_adapter.tied_adapter is first.token_adapter
    return False

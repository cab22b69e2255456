"""What runs in llm-compressor's own environment: it imports nothing of ours, whose libraries are others there."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any


def compress(model_dir: str, folder: str, recipe: Mapping[str, Any], rows: Sequence[Sequence[int]], seed: int) -> None:
    """Write a model, quantized, as safetensors with its config.

    The whole model is held in memory; on a GPU it passes through layer by layer.

    Args:
        model_dir: The model.
        folder: Where to write.
        recipe: As `build_recipe` returns it.
        rows: Token ids of the calibration rows; none for a method that takes none.
        seed: Of whatever the library draws.
    """
    torch, transformers = import_module("torch"), import_module("transformers")
    compressor = import_module("llmcompressor")
    torch.manual_seed(seed)
    if not torch.accelerator.is_available():  # AWQ pins memory for the way to a device, which fails without one
        import_module("llmcompressor.pipelines.cache").IntermediatesCache.pin_memory = _do_nothing
    model = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype="auto")
    calibration = {}
    if rows:
        columns = {"input_ids": [list(ids) for ids in rows], "attention_mask": [[1] * len(ids) for ids in rows]}
        calibration = {
            "dataset": import_module("datasets").Dataset.from_dict(columns),
            "num_calibration_samples": len(rows),
            "max_seq_length": max(map(len, rows)),
            "shuffle_calibration_samples": False,
        }
    compressor.oneshot(model=model, recipe=_build_modifiers(recipe), **calibration)
    model.save_pretrained(folder, save_compressed=True)


def _build_modifiers(recipe: Mapping[str, Any]) -> list[Any]:
    options = {"config_groups": recipe["config_groups"], "ignore": recipe["ignore"]}
    if recipe["method"] == "gptq":
        return [import_module("llmcompressor.modifiers.gptq").GPTQModifier(**options)]
    rounding = import_module("llmcompressor.modifiers.quantization").QuantizationModifier(**options)
    if recipe["method"] == "awq":
        return [import_module("llmcompressor.modifiers.transform.awq").AWQModifier(), rounding]
    return [rounding]


def _do_nothing(*_args: Any, **_kwargs: Any) -> None:
    """Stand in for a method."""

"""The weights of conventional models: begun, saved and loaded; Transformers' own classes throughout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from eshop_ray.artifacts import AnyFolder, find_manifest
from eshop_ray.errors import UserError
from eshop_ray.models.conventional import HEADS, HeadSpec, Spec, load_plain_tokenizer, write_spec

_CLASSES: dict[str, Any] = {
    "tags": AutoModelForTokenClassification,
    "label": AutoModelForSequenceClassification,
    "candidates": AutoModelForSequenceClassification,
    "seq2seq": AutoModelForSeq2SeqLM,
    "causal": AutoModelForCausalLM,
}
"""Kind of head, or architecture -> its class of Transformers."""

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Files without which a folder has no weights."""


def describe_source(source: Path, architecture: str, max_row_length: int) -> Spec:
    """Return what a model that starts from a source will be, yet without heads, and refuse what cannot become one.

    Args:
        source: Folder of a saved model, or of its config and tokenizer alone.
        architecture: `conventional.architecture`.
        max_row_length: Tokens that it is to read at most.

    Raises:
        UserError: naming what does not fit.
    """
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"Transformers cannot read {source / 'config.json'}: {str(error)[:300]}") from error
    own = _find_architecture(config)
    if own != architecture:
        remedy = f"set `conventional.architecture: {own}`" if own else "choose another model"
        raise UserError(
            f"`conventional.source` {source} is a `{config.model_type}`, which is no model for "
            f"`conventional.architecture: {architecture}`; {remedy}"
        )
    tokenizer = load_plain_tokenizer(source)
    manifest = find_manifest(source)
    pretrained = has_weights(source) and bool((manifest.details if manifest else {}).get("pretrained", True))
    return Spec(architecture, _find_length(config, tokenizer, max_row_length), pretrained, ())


def _find_architecture(config: Any) -> str | None:
    """Return the architecture that a model is of, as far as Transformers has the classes; None for another one."""
    if config.is_encoder_decoder:
        return "seq2seq" if type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING else None
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        has_heads = all(type(config) in _CLASSES[kind]._model_mapping for kind in ("tags", "label"))
        return "encoder" if has_heads else None
    return "causal" if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else None


def has_weights(folder: Path) -> bool:
    """Whether a folder holds the weights of a model."""
    return any(any(folder.glob(pattern)) for pattern in WEIGHTS)


def build_model(source: AnyFolder, spec: Spec, seed: int) -> Any:
    """Return a model to train, the same one for the same seed: new heads, and other weights from the source if it has
    any.

    Returns:
        `Heads` for an encoder, else a model of Transformers; fp32, on the CPU.
    """
    torch.manual_seed(seed)
    folder = Path(source)
    if spec.architecture != "encoder":
        return _start(spec.architecture, folder, {})
    built = {head.name: _start(head.kind, folder, _label_config(head)) for head in spec.heads}
    return Heads(spec, built)


def load_model(place: AnyFolder, spec: Spec) -> Any:
    """Return a trained model in evaluation mode, as `build_model` does."""
    folder = Path(place)
    if spec.architecture != "encoder":
        return _CLASSES[spec.architecture].from_pretrained(folder, dtype=torch.float32).eval()
    built = {
        head.name: _CLASSES[head.kind].from_pretrained(folder / HEADS / head.name, dtype=torch.float32)
        for head in spec.heads
    }
    return Heads(spec, built).eval()


def save_model(folder: Path, source: Path, spec: Spec, model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a model with its tokenizer.

    Args:
        folder: Empty, or not there yet.
        source: What it started from.
        spec: What it is.
        model: Gives names and settings.
        weights: Name -> weight, whole and on the CPU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    load_plain_tokenizer(source).save_pretrained(folder)
    if spec.architecture == "encoder":
        for name, head in model.models.items():
            prefix = f"models.{name}."
            own = {key.removeprefix(prefix): weight for key, weight in weights.items() if key.startswith(prefix)}
            head.save_pretrained(folder / HEADS / name, state_dict=own)
        AutoConfig.from_pretrained(source).save_pretrained(folder)
    else:
        model.save_pretrained(folder, state_dict=dict(weights))
    write_spec(folder, spec)


class Heads(torch.nn.Module):  # type: ignore[misc]
    """Models of Transformers, one for each head, over one encoder."""

    def __init__(self, spec: Spec, models: Mapping[str, Any]) -> None:
        super().__init__()
        self.spec = spec
        # A classifier's encoder may have a layer more, which taggers do without: BERT's pooler.
        trunk = max((model.base_model for model in models.values()), key=lambda one: len(one.state_dict()))
        for model in models.values():
            setattr(model, model.base_model_prefix, trunk)
        self.models = torch.nn.ModuleDict(models)

    def forward(self, head: int, **inputs: torch.Tensor) -> torch.Tensor:
        """Return the scores of a head for a padded batch: (B, T, labels) of tags, else (B, labels)."""
        scores: torch.Tensor = self.models[self.spec.heads[head].name](**inputs).logits
        return scores


def _label_config(head: HeadSpec) -> dict[str, Any]:
    names = dict(enumerate(head.labels))
    return {"num_labels": len(names), "id2label": names, "label2id": {label: number for number, label in names.items()}}


def _start(kind: str, folder: Path, options: Mapping[str, Any]) -> Any:
    """Return a model of the source's weights, or of random ones; what is new is random."""
    if has_weights(folder):
        model = _CLASSES[kind].from_pretrained(folder, dtype=torch.float32, **options)
    else:
        config = AutoConfig.from_pretrained(folder, **options)
        model = _CLASSES[kind].from_config(config, dtype=torch.float32)
    return model


def _find_length(config: Any, tokenizer: Any, max_row_length: int) -> int:
    """Return the tokens that a model reads at most."""
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if config.model_type == "t5" or not isinstance(positions, int):  # relative positions: no limit of its own
        positions = max_row_length
    elif "roberta" in config.model_type or config.model_type == "camembert":
        positions -= config.pad_token_id + 1  # its positions begin behind that of padding
    return min(max_row_length, positions, int(tokenizer.model_max_length))

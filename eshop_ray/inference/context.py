"""How long a prompt may be: what an engine's context holds, counted as the engine counts."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eshop_ray.artifacts import AnyFolder, share_folder
from eshop_ray.config import Config
from eshop_ray.data.chat_template import render_prompt
from eshop_ray.data.few_shot.shots import Fits
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.inference.engines.openai.chat_request import fits_estimate
from eshop_ray.inference.engines.vllm_arguments import ANSWER_DEFAULTS
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import Message


def build_fits(config: Config, model_dir: Path | None) -> Fits | None:
    """Return what decides whether a prompt fits; None for an engine whose context nobody knows.

    Args:
        config: Of the run.
        model_dir: Folder of the model that answers; None: it has none here.
    """
    if config.infer.engine == "openai":
        return partial(fits_estimate, config.openai.max_model_len) if config.openai.max_model_len else None
    if model_dir is None or config.infer.engine not in ("vllm", "serve"):
        return None
    section = config.serve if config.infer.engine == "serve" else config.infer
    stated = {**ANSWER_DEFAULTS, **section.engine_kwargs}["max_model_len"]
    context = stated if isinstance(stated, int) and stated > 0 else _read_context(model_dir)
    return partial(fits_model, share_folder(model_dir, config.run_dir), context) if context else None


def fits_model(model_dir: AnyFolder, context: int, messages: Sequence[Message], params: Mapping[str, Any]) -> bool:
    """Return whether a prompt and its answer fit into a model's context, in tokens of its own tokenizer."""
    tokenizer = load_tokenizer(model_dir)
    room = context - int(params["max_tokens"])
    if len(render_prompt(tokenizer, messages).encode()) <= room:
        return True  # no token is shorter than a byte, and counting them takes longer
    return len(tokenize_prompt(tokenizer, messages)) <= room


def _read_context(model_dir: Path) -> int | None:
    """Return the longest context that a model was made for, where it says so."""
    config = json.loads((model_dir / "config.json").read_text())
    longest = {**config, **(config.get("text_config") or {})}.get("max_position_embeddings")
    return longest if isinstance(longest, int) else None

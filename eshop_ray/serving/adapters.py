"""Adapters beside the base, in one engine: what it has to be told of them, and which of them it would get wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eshop_ray.artifacts import AnyFolder
from eshop_ray.errors import UserError
from eshop_ray.models.peft_files import SETTINGS, WEIGHTS

Adapters = Mapping[str, AnyFolder]
"""Name that clients send as `model` -> folder."""

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""For which vLLM can be set up."""

REFUSED = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "trainable_token_indices",
    "target_parameters",
)
"""Settings of PEFT's that vLLM refuses, or reads past: the answers would be of another adapter than was trained."""


def build_lora_arguments(adapters: Adapters, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the engine's arguments with what the adapters need; none without adapters.

    Args:
        adapters: All of them.
        stated: `serve.engine_kwargs`; what they say holds.

    Raises:
        UserError: naming an adapter that vLLM cannot have, and why.
    """
    if not adapters:
        return dict(stated)
    ranks = {name: read_rank(name, Path(folder)) for name, folder in adapters.items()}
    widest = max(ranks, key=lambda name: ranks[name])
    limit = stated.get("max_lora_rank") or next((rank for rank in RANKS if rank >= ranks[widest]), RANKS[-1])
    if ranks[widest] > limit:
        raise UserError(
            f"`serve.adapters.{widest}` has rank {ranks[widest]}, and the engine takes up to {limit}; "
            f"`serve.engine_kwargs.max_lora_rank` sets it, up to {RANKS[-1]}, or merge the adapter and serve `merged/`"
        )
    return {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": limit, **stated}


def read_rank(name: str, folder: Path) -> int:
    """Return the rank of an adapter.

    Args:
        name: That clients send.
        folder: Its own.

    Raises:
        UserError: if it is none that vLLM can have.
    """
    for file in (SETTINGS, WEIGHTS):
        if not (folder / file).is_file():
            raise UserError(
                f"`serve.adapters.{name}` {folder}: no adapter there ({file} is missing); name the folder of one"
            )
    settings = json.loads((folder / SETTINGS).read_text())
    beyond = [field for field in REFUSED if settings.get(field)]
    beyond += ["bias"] if settings.get("bias", "none") != "none" else []
    if settings.get("peft_type", "LORA") != "LORA":
        beyond.append("peft_type")
    if beyond:
        fields = ", ".join(f"`{field}`" for field in beyond)
        raise UserError(
            f"`serve.adapters.{name}` {folder} has {fields}, which the engine cannot add to a shared base; "
            "merge it (`eshop merge-lora`) and serve `merged/`"
        )
    return int(settings["r"])

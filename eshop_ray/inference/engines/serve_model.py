"""How a replica of Ray Serve LLM comes to a model that stands in an object store: as all other processes do."""

import asyncio
import os
from typing import Any

from ray.llm._internal.common.callbacks.base import CallbackBase

from eshop_ray.artifacts import AnyFolder, SharedFolder


def name_source(model_dir: AnyFolder) -> str:
    """Return what the deployment calls its model, and is found by."""
    return f"shared-{model_dir.digest}" if isinstance(model_dir, SharedFolder) else str(model_dir)


def load_settings(model_dir: AnyFolder) -> dict[str, Any]:
    """Return the arguments of `ray.serve.llm.LLMConfig` that tell a replica where its model is."""
    if not isinstance(model_dir, SharedFolder):
        return {}
    folder = {"uri": model_dir.uri, "digest": model_dir.digest}
    return {"callback_config": {"callback_class": f"{__name__}.{FetchModel.__name__}", "callback_kwargs": folder}}


class FetchModel(CallbackBase):  # type: ignore[misc]
    """Fetches the model to the replica's node, into the same cache that pipelines use."""

    async def on_before_node_init(self) -> None:
        """Have the engine load the folder of this node."""
        folder = await asyncio.to_thread(os.fspath, SharedFolder(self.kwargs["uri"], self.kwargs["digest"]))
        self.llm_config.get_engine_config().hf_model_id = folder

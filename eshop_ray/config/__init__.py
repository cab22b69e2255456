"""One YAML per experiment, read by every job: frozen sections, unknown keys refused, dotted overrides."""

from eshop_ray.config.loading import load_config, write_config
from eshop_ray.config.sections import (
    Config,
    DataConfig,
    EvaluateConfig,
    InferConfig,
    LoraSection,
    ModelConfig,
    RaySection,
    ServeSection,
    SourceConfig,
    TrainConfig,
)

__all__ = [
    "Config",
    "DataConfig",
    "EvaluateConfig",
    "InferConfig",
    "LoraSection",
    "ModelConfig",
    "RaySection",
    "ServeSection",
    "SourceConfig",
    "TrainConfig",
    "load_config",
    "write_config",
]

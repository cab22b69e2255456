"""One YAML per experiment, read by every job: frozen sections, unknown keys refused, dotted overrides."""

from eshop_ray.config.loading import load_config, write_config
from eshop_ray.config.nightly import CatalogConfig, EnrichConfig, ReviewsConfig, TableConfig
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
    "CatalogConfig",
    "Config",
    "DataConfig",
    "EnrichConfig",
    "EvaluateConfig",
    "InferConfig",
    "LoraSection",
    "ModelConfig",
    "RaySection",
    "ReviewsConfig",
    "ServeSection",
    "SourceConfig",
    "TableConfig",
    "TrainConfig",
    "load_config",
    "write_config",
]

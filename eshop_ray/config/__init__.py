"""One YAML per experiment, read by every job: frozen sections, unknown keys refused, dotted overrides."""

from eshop_ray.config.experiment import ExperimentSection, MergeMethod, MergeSection, SearchSection, Strategy
from eshop_ray.config.loading import load_config, write_config
from eshop_ray.config.nightly import CatalogConfig, EnrichConfig, ReviewsConfig, TableConfig
from eshop_ray.config.sections import (
    Config,
    DataConfig,
    EvaluateConfig,
    InferConfig,
    ModelConfig,
    RaySection,
    ServeSection,
    SourceConfig,
)
from eshop_ray.config.training import LoraSection, TrackingConfig, TrainConfig

__all__ = [
    "CatalogConfig",
    "Config",
    "DataConfig",
    "EnrichConfig",
    "EvaluateConfig",
    "ExperimentSection",
    "InferConfig",
    "LoraSection",
    "MergeMethod",
    "MergeSection",
    "ModelConfig",
    "RaySection",
    "ReviewsConfig",
    "SearchSection",
    "ServeSection",
    "SourceConfig",
    "Strategy",
    "TableConfig",
    "TrackingConfig",
    "TrainConfig",
    "load_config",
    "write_config",
]

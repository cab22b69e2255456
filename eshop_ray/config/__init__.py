"""One YAML per experiment, read by every job: frozen sections, unknown keys refused, dotted overrides."""

from eshop_ray.config.experiment import ExperimentSection, MergeMethod, MergeSection, SearchSection, Strategy
from eshop_ray.config.few_shot import FewShotSection
from eshop_ray.config.index import IndexSection
from eshop_ray.config.instructions import InstructionSource, InstructionsSection, SubtaskSection
from eshop_ray.config.loading import load_config, write_config
from eshop_ray.config.matrix import MatrixSection
from eshop_ray.config.nightly import CatalogSection, EnrichSection, ReviewsSection, TableSection
from eshop_ray.config.openai import OpenaiSection
from eshop_ray.config.sections import (
    CONVENTIONAL_ENGINES,
    Config,
    DataSection,
    EvaluateSection,
    InferSection,
    ModelSection,
    RaySection,
    SourceSection,
)
from eshop_ray.config.serving import BatchesSection, ServeSection
from eshop_ray.config.shopbench import PromptStrategy, ShopbenchSection
from eshop_ray.config.training import ConventionalSection, LearningSection, LoraSection, TrackingSection, TrainSection

__all__ = [
    "CONVENTIONAL_ENGINES",
    "BatchesSection",
    "CatalogSection",
    "Config",
    "ConventionalSection",
    "DataSection",
    "EnrichSection",
    "EvaluateSection",
    "ExperimentSection",
    "FewShotSection",
    "IndexSection",
    "InferSection",
    "InstructionSource",
    "InstructionsSection",
    "LearningSection",
    "LoraSection",
    "MatrixSection",
    "MergeMethod",
    "MergeSection",
    "ModelSection",
    "OpenaiSection",
    "PromptStrategy",
    "RaySection",
    "ReviewsSection",
    "SearchSection",
    "ServeSection",
    "ShopbenchSection",
    "SourceSection",
    "Strategy",
    "SubtaskSection",
    "TableSection",
    "TrackingSection",
    "TrainSection",
    "load_config",
    "write_config",
]

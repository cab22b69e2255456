"""The section of a config that `autotune` reads."""

from typing import Annotated

from pydantic import Field

from eshop_ray.config.base import PositiveInt, Section


class AutotuneSection(Section):
    """How `autotune` measures the settings of `infer`, and whether it writes what it found."""

    num_rows: PositiveInt = 300
    """Rows of `evaluate.split` to measure with, the same ones every time; fewer where there are fewer."""
    max_minutes: Annotated[float, Field(gt=0)] = 30.0
    """Time for the whole search, the comparison at its end among it."""
    write: bool = True
    """Write faster settings into the config file; false only tells them."""

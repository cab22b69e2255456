"""A sample of a night's questions, whose answers are compared with the table before anything is committed."""

from eshop_ray.enrichment.canary.judge import Canary, CanaryError, Limits
from eshop_ray.enrichment.canary.reference import read_reference
from eshop_ray.enrichment.canary.sample import Answered, Candidates, Draw, draw

__all__ = ["Answered", "Canary", "CanaryError", "Candidates", "Draw", "Limits", "draw", "read_reference"]

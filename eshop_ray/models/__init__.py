"""Model folders: the base model, fetched once; a run's merged and quantized models; the tensor files in them."""

from eshop_ray.models.digests import model_digest
from eshop_ray.models.folders import WHEELS, Model, fetch_model, find_model, load_tokenizer

__all__ = ["WHEELS", "Model", "fetch_model", "find_model", "load_tokenizer", "model_digest"]

"""Bulk inference in the OpenAI batch file format: requests in one file, answers in another, failures in a third."""

from eshop_ray.inference.openai_batch.batch_files import BatchFiles, name_errors
from eshop_ray.inference.openai_batch.requests import Rules
from eshop_ray.inference.openai_batch.run import (
    Batch,
    answer_batch,
    check_failures,
    check_models,
    look_through,
    open_batch,
)

__all__ = [
    "Batch",
    "BatchFiles",
    "Rules",
    "answer_batch",
    "check_failures",
    "check_models",
    "look_through",
    "name_errors",
    "open_batch",
]

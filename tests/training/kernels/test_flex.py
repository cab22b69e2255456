"""Flex attention, for models that are tried on the CPU."""

import torch

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.execution import Execution
from eshop_ray.training.model import build_model

CPU = torch.device("cpu")


def test_a_model_that_is_tried_on_the_cpu_keeps_flex_attention_for_its_gpu(tiny_model_dir):
    train = TrainSection(attention="flex")
    model = build_model(tiny_model_dir, train, LoraSection(r=4), 1, CPU)
    assert Execution.prepare(model, train, torch.device("cuda"), replaces_head=True) == Execution(
        "flex", is_packed=True
    )

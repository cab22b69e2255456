"""What to install when a package is missing, e.g. because a wheel was installed without its extras."""

import importlib.util
from pathlib import Path

from eshop_ray.config import Config
from eshop_ray.errors import UserError

LOCKS = Path(__file__).parents[1] / "environments"

_EXTRAS = {"bitsandbytes": "qlora", "mlflow": "tracking"}
"""Packages that neither `cpu` nor `gpu` brings."""


def check_engine(config: Config) -> None:
    """Find out before a job starts whether the engine that it asks is installed.

    Raises:
        UserError: with the line to run, if it is not.
    """
    if config.infer.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise UserError(explain_missing("vllm"))


def explain_missing(module: str) -> str:
    """Return a message for a module that could not be imported, with the line to run."""
    package = module.partition(".")[0]
    extra = _EXTRAS.get(package, "cpu")
    on_gpus = " (`gpu` instead of `cpu` on NVIDIA GPUs)" if extra == "cpu" else ""
    return (
        f"the package `{package}` is missing; run `pip install 'eshop_ray[{extra}]'`{on_gpus}, or install exactly the "
        f"releases that are tested: `pip install --no-deps -r {LOCKS / 'cpu.txt'}`"
    )

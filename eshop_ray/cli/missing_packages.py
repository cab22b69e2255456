"""What to install when a package is missing, e.g. because a wheel was installed without its extras."""

from pathlib import Path

from eshop_ray.errors import UserError

_LOCK = Path(__file__).parents[1] / "environments" / "cpu.txt"

_EXTRAS = {"bitsandbytes": "qlora", "mlflow": "tracking"}
"""Packages that neither `cpu` nor `gpu` brings."""


def build_error(module: str) -> UserError:
    """Return the error for a module that is not installed: it names the line to run."""
    package = module.partition(".")[0]
    extra = _EXTRAS.get(package, "cpu")
    on_gpus = " (`gpu` instead of `cpu` on NVIDIA GPUs)" if extra == "cpu" else ""
    return UserError(
        f"the package `{package}` is missing; run `pip install 'eshop_ray[{extra}]'`{on_gpus}, or install exactly the "
        f"releases that are tested: `pip install --no-deps -r {_LOCK}`"
    )

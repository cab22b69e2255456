"""Config -> the same with faster settings of `infer`, on this machine: `python -m jobs.autotune CONFIG`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.inference.autotune import autotune, check_tunable
from eshop_ray.inference.build import start_engine
from eshop_ray.models import find_model, model_digest
from jobs._main import main


def run(config: Config, path: Path) -> None:
    """Tune with the last model of `infer.models`, on rows of `evaluate.split`."""
    check_tunable(config, path)
    artifacts.read_manifest(config.records_dir, job="prepare_data")
    model_dir = find_model(config, config.infer.models[-1])
    start_engine(config, model_dir, model_digest(model_dir))
    autotune(config, model_dir, path)


def command(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the job on a command line, whose first word is the file that is changed, and exit."""
    words = sys.argv[1:] if arguments is None else arguments
    main(lambda config: run(config, Path(words[0])), words)


if __name__ == "__main__":
    command()

"""What all drivers share: arguments in, one clear message and exit status 2 for what the user can mend."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from eshop_ray.config import Config, load_config, write_config
from eshop_ray.errors import UserError


def main(run: Callable[[Config], None], arguments: Sequence[str] | None = None) -> NoReturn:
    """Load the config, write it into the run directory, run the job, exit."""
    module = sys.modules[run.__module__].__spec__
    parser = argparse.ArgumentParser(prog=f"python -m {module.name if module else run.__module__}")
    parser.add_argument("config", help="YAML file of the experiment")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="settings that win over the file")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for noisy in ("ray", "httpx", "sentence_transformers", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # warns, on import, of kernels that CPUs do without
    try:
        config = load_config(options.config, options.overrides)
        write_config(config)
        run(config)
    except UserError as error:
        logging.disable()  # Ray complains, at length, of being shut down under a pipeline that still runs
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)

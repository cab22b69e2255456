"""OpenAI batch file -> answers: `python -m jobs.run_batch IN.jsonl OUT.jsonl`, a drop-in for `vllm run-batch`."""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import Config
from eshop_ray.inference.build import start_engine
from eshop_ray.inference.openai_batch import (
    DEFAULT_MAX_TOKENS,
    Ledger,
    Rules,
    answer_batch,
    look_through,
    open_batch,
    read_defaults,
)
from eshop_ray.models import fetch_model, model_digest
from jobs._main import main

logger = logging.getLogger(__name__)

CONFIG = Path(__file__).parent / "configs" / "run_batch.yaml"


def run(config: Config, options: argparse.Namespace) -> None:
    """Answer what has no result yet."""
    source = look_through(options.input, config.infer)
    is_simulated = config.infer.engine == "simulated"
    folder = None if is_simulated else fetch_model(config.model)
    digest = model_digest(folder) if folder else fingerprint("simulated")
    rules = Rules(tuple(options.served_model_name or [config.model.source]), read_defaults(folder, options.max_tokens))
    with Ledger(options.output, options.errors or options.output.with_suffix(".errors.jsonl")) as ledger:
        batch = open_batch(ledger, source, config.infer, {"model": digest, "max_tokens": options.max_tokens})
        if batch.num_open:
            start_engine(config, folder or Path(), digest)
        for name, count in answer_batch(batch, ledger, config.infer, folder or Path(), rules).items():
            logger.info("%-32s %9d", name, count)


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.run_batch")
    parser.add_argument("input", help="requests, one JSON object a line; a local path, s3:// or gs://")
    parser.add_argument("output", type=Path, help="where answers are added; what stands there is not asked again")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="settings that win over the file")
    parser.add_argument("--errors", type=Path, help="where failures are added; OUT.errors.jsonl unless named")
    parser.add_argument("--config", default=str(CONFIG), help="YAML file with settings of model, engine and Ray")
    parser.add_argument("--model", help="folder or name of the model, instead of `model.source`")
    name = "value of `model` in requests, may be given more than once; --model unless named"
    parser.add_argument("--served-model-name", action="append", help=name)
    parser.add_argument("--max-tokens", type=int, default=DEFAULT_MAX_TOKENS, help="of requests that do not say")
    return parser.parse_intermixed_args(arguments)


def command(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the job on a command line, and exit."""
    options = read_arguments(arguments)
    model = [f"model.source={json.dumps(options.model)}"] if options.model else []
    main(lambda config: run(config, options), [options.config, *options.overrides, *model])


if __name__ == "__main__":
    command()

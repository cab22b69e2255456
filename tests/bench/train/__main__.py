"""Training against TRL: `python -m tests.bench.train [--only PART,...] [data.root=PATH section.field=value ...]`.

Parts: `shared_prefix` and `plain` (rows per second and peak memory against TRL's SFTTrainer, padded and packed), `mfu`
(share of the machine's matrix peak), `profile_shared_prefix` and `profile_plain` (where the time goes), `two_workers`
(what distribution costs), `busy` (what is left of the speed where others use the cores).
Prints a table and merges it into `runs/bench/train.json`. `data.root` holds `queryner/train.conll` and
`review_summaries/*.tsv`.
"""

import argparse
import logging
import os
import platform
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from eshop_ray.artifacts import write_json
from eshop_ray.config import load_config
from eshop_ray.errors import UserError
from eshop_ray.models import fetch_model
from tests.bench.train import parts
from tests.bench.train.results import merge, read_results, render_table

FOLDER = Path(__file__).parent
RESULTS = Path(__file__).parents[3] / "runs" / "bench" / "train.json"


def main(arguments=None):
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = load_config(str(FOLDER / "settings.yaml"), options.overrides)
    machine = describe_machine(config.train.torch_threads or os.cpu_count() or 1, config.train.use_gpu)
    stored = read_results(options.results)
    with tempfile.TemporaryDirectory() as workdir:
        bench = parts.Bench(
            config,
            fetch_model(config.model),
            Path(workdir),
            machine["num_threads"],
            options.repeats,
            choose_sizes(options, parts.WORKLOADS_ON_GPU if config.train.use_gpu else parts.WORKLOADS),
            find_tuned(stored) if options.tuned else {},
        )
        for name in options.only:
            logging.info("-- %s", name)
            stored = merge(stored, {name: parts.run_part(bench, name)}, machine)
            write_json(options.results, stored)
    print(render_table(stored))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.train", description=__doc__.partition(":")[0])
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="settings, e.g. data.root=PATH")
    parser.add_argument(
        "--only", type=parse_parts, default=parts.PARTS, metavar="PART,...", help="all parts by default"
    )
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes for each figure; the median counts")
    parser.add_argument("--rows", type=int, help="rows of each measurement, the warm-up step's included")
    parser.add_argument("--batch", type=int, help="rows of an optimizer step")
    parser.add_argument("--tuned", action="store_true", help="take TRL's best settings from the results file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to merge the results into")
    return parser.parse_intermixed_args(arguments)


def choose_sizes(options, workloads):
    """Return the workloads, with the sizes of the command line."""
    sizes = {"num_rows": options.rows, "batch_size": options.batch}
    given = {name: size for name, size in sizes.items() if size}
    return {name: replace(workload, **given) for name, workload in workloads.items()}


def parse_parts(text):
    """Read the parts to measure."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(parts.PARTS)):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}; there are {', '.join(parts.PARTS)}")
    return names


def find_tuned(stored):
    """Return TRL's best settings by workload, as an earlier run found them."""
    return {name: part["tuned"] for name, part in stored.get("parts", {}).items() if "tuned" in part}


def describe_machine(num_threads, on_gpu):
    """Return what figures depend on besides the settings."""
    return {
        "cores": os.cpu_count(),
        "num_threads": num_threads,
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **({"gpu": torch.cuda.get_device_name()} if on_gpu else {}),
    }


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

"""Bulk inference against its peers: `python -m tests.bench.infer [--only PART,...] [data.root=PATH section.key=value]`.

Parts: `unique` (prompts that differ) and `catalog` (a shop's prompts as they come), each answered by this project, by
`vllm.LLM.chat` (with our engine arguments, and with its own), by Ray Data's own LLM processor and by `vllm run-batch`,
with the same model and threads; and by this project without compilation, in int8, and both; `busy`, what is left of
our speed where others use the cores. Prints a table and merges
it into `runs/bench/infer.json`, with a picture beside it. `data.root` holds `ec_guide/` and `catalog/`.
"""

import argparse
import logging
import os
import platform
import sys
import tempfile
from pathlib import Path

from eshop_ray.artifacts import write_json
from eshop_ray.config import load_config
from eshop_ray.errors import UserError
from eshop_ray.models import fetch_model
from tests.bench.infer import parts
from tests.bench.infer.picture import draw
from tests.bench.infer.results import merge, render_table
from tests.bench.train.results import read_results

FOLDER = Path(__file__).parent
RESULTS = Path(__file__).parents[3] / "runs" / "bench" / "infer.json"


def main(arguments=None):
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = load_config(str(FOLDER / "settings.yaml"), options.overrides)
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    stored = read_results(options.results)
    with tempfile.TemporaryDirectory() as workdir:
        bench = parts.Bench(config, fetch_model(config.model), Path(workdir), options.rows, options.repeats)
        for name in options.only:
            logging.info("-- %s", name)
            stored = merge(stored, {name: parts.run_part(bench, name, options.sides)}, machine)
            write_json(options.results, stored)
            if name in parts.WORKLOADS:
                options.results.with_suffix(".svg").write_bytes(draw(stored))
    print(render_table(stored))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.infer", description=__doc__.partition(":")[0])
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="settings, e.g. data.root=PATH")
    parser.add_argument("--only", type=_split, default=list(parts.PARTS), metavar="PART,...", help="all by default")
    parser.add_argument("--sides", type=_split, default=list(parts.SIDES), metavar="SIDE,...", help="all by default")
    parser.add_argument("--rows", type=int, default=1000, help="rows of each part")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes for each figure; the median counts")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to merge the results into")
    options = parser.parse_intermixed_args(arguments)
    for name, known in (("only", parts.PARTS), ("sides", parts.SIDES)):
        if unknown := sorted(set(getattr(options, name)) - set(known)):
            parser.error(f"--{name}: no {', '.join(unknown)}; there are {', '.join(known)}")
    if "ours" not in options.sides:
        parser.error("--sides: `ours` is what the others are compared with")
    return options


def _split(text):
    return text.split(",")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

"""Bulk inference at scale, simulated: `python -m tests.bench.scale [--replicas 1,2,4,...] [--only PART,...]`.

No model runs: engines are Ray actors that take a GPU's time for every row and cost next to no CPU. All else is real:
Ray Data, prompts, the engine stage, its dispatcher, predictions on disk. Parts: `scaling`, rows in proportion to
replicas; `dispatch`, groups of engines against one actor per engine to which Ray Data hands blocks blindly; and
`control_plane`, engines that answer at once. Prints tables and merges them into `runs/bench/scale.json`.
"""

import argparse
import logging
import os
import platform
from pathlib import Path

from eshop_ray.artifacts import write_json
from eshop_ray.inference.dispatch.stage import GROUP_SIZE
from eshop_ray.inference.engines.simulated.timing import Timing
from tests.bench.process import measure
from tests.bench.scale.results import render, summarize
from tests.bench.scale.rows import OWN_TOKENS, SHARED_TOKENS
from tests.bench.train.results import read_results

logger = logging.getLogger(__name__)

RESULTS = Path(__file__).parents[3] / "runs" / "bench" / "scale.json"

TIMING = {"prefill_tokens_per_second": 100_000, "step_seconds": 0.006, "max_num_seqs": 64, "jitter": 0.2}
"""A model of 0.6 billion weights on one H100, assumed, not measured: some 50 rows/s of 1,000 + 100 tokens."""

ANSWER_TOKENS = 100
NUM_FAMILIES = 64
BATCH_SIZE = 64

CACHE_TOKENS = 40_000
"""Prefix cache of an engine in `dispatch`: it holds all families' beginnings, with nothing else."""

NUM_COMPARED = 8
"""Replicas in `dispatch` and in `control_plane`."""

CONTROL_ROWS = 24_000


def main(arguments=None):
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    results = read_results(options.results)
    results |= {"timing": TIMING, "machine": {"cores": os.cpu_count(), "processor": platform.processor()}}
    for name in options.only:
        results[name] = PARTS[name](options)
        write_json(options.results, results)
    print(render(results))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__.partition(":")[0])
    parser.add_argument("--replicas", type=_counts, default=_counts("1,2,4,8,16,32,64"), metavar="N,...")
    parser.add_argument("--repeats", type=int, default=3, help="slices of the steady time; their median counts")
    parser.add_argument("--rows", type=int, default=1000, help="rows per replica")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,...")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to merge the results into")
    options = parser.parse_intermixed_args(arguments)
    if unknown := sorted(set(options.only) - set(PARTS)):
        parser.error(f"--only: no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return options


def measure_scaling(options):
    return [run(options, count, options.rows * count) for count in options.replicas]


def measure_dispatch(options):
    """Groups against one actor per engine, which is what Ray Data would do by itself."""
    rows, cached = options.rows * NUM_COMPARED, {"prefix_cache_tokens": CACHE_TOKENS}
    sizes = {f"groups of {GROUP_SIZE}": GROUP_SIZE, "blind": 1}
    return {name: run(options, NUM_COMPARED, rows, cached, size) for name, size in sizes.items()}


def measure_control_plane(options):
    """A step takes a nanosecond, and a prompt none."""
    instant = {"prefill_tokens_per_second": 1e12, "step_seconds": 1e-9, "step_seconds_per_sequence": 0}
    return run(options, NUM_COMPARED, CONTROL_ROWS, instant)


def run(options, num_replicas, num_rows, changes=None, group_size=GROUP_SIZE):
    timing = {**TIMING, "answer_tokens": ANSWER_TOKENS, **(changes or {})}
    job = {
        "threads": 1,
        "infer": {"batch_size": BATCH_SIZE, "concurrency": num_replicas},
        "timing": timing,
        "ideal": Timing(**timing).count_rows_per_second(SHARED_TOKENS + OWN_TOKENS, ANSWER_TOKENS),
        "group_size": min(group_size, num_replicas),
        "num_rows": num_rows,
        "num_families": NUM_FAMILIES,
    }
    figures = summarize(job, measure("scale.pipeline", job), options.repeats)
    logger.info("%d replicas: %.0f rows/s", num_replicas, figures["steady_rows_per_second"])
    return figures


def _counts(text):
    return [int(count) for count in text.split(",")]


PARTS = {"scaling": measure_scaling, "dispatch": measure_dispatch, "control_plane": measure_control_plane}


if __name__ == "__main__":
    main()

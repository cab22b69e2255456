"""Adapters trained to be merged against plain ones: `python -m tests.bench.mergeable data.root=PATH [--ways WAY,...]`.

Of each start there is one adapter per task: `plain`, PEFT's own; `shared`, one A for all that does not learn;
`orthogonal`, an A of its own that does not learn, orthogonal to those of the others. They answer apart, each its own
task, and merged. Prints tables and writes `runs/bench/mergeable.json`. Killed, it goes on when called again.
"""

import argparse
import itertools
import json
import logging
import sys
from pathlib import Path

from eshop_ray.artifacts import write_json
from eshop_ray.config import MergeSection, load_config
from eshop_ray.data.splits import read_clusters
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.chains import (
    MERGE_AND_ANSWER,
    TRAIN,
    Chain,
    needs_of_inference,
    needs_of_training,
)
from eshop_ray.evaluation.experiments.compare import Contender, average, compare_answers, judge, read_units
from eshop_ray.evaluation.experiments.launch import run_chains
from eshop_ray.evaluation.experiments.members import derive_run
from eshop_ray.evaluation.matrix.plan import Run
from eshop_ray.evaluation.matrix.runs import find_pending
from eshop_ray.jobs import prepare_data
from eshop_ray.models import fetch_model
from eshop_ray.places import place_of
from eshop_ray.training.merging.adapters import AdapterFile
from eshop_ray.training.merging.similarity import measure_similarity
from eshop_ray.training.trainer import HISTORY

SETTINGS = Path(__file__).with_name("settings.yaml")
RESULTS = Path(__file__).parents[3] / "runs" / "bench" / "mergeable.json"

STARTS = PLAIN, SHARED, ORTHOGONAL = "plain", "shared", "orthogonal"
WAYS = APART, SUM, MEAN, TIES = "apart", "sum", "mean", "ties"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mergeable", description=__doc__.partition(":")[0])
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="settings, e.g. data.root=PATH")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write the results into")
    parser.add_argument("--ways", type=parse_ways, default=WAYS, metavar="WAY,...", help=f"of {', '.join(WAYS)}")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = load_config(str(SETTINGS), options.overrides)
    prepare_data.run(config)
    run_chains(config, list(list_pending(config, plan_adapters(config), TRAIN)), needs_of_training(config.train))
    roads = {road: derive_road(config, *road) for road in itertools.product(STARTS, options.ways)}
    run_chains(config, list(list_pending(config, roads, MERGE_AND_ANSWER)), needs_of_inference(config.infer))
    results = measure(config, roads)
    write_json(options.results, results)
    print(render(results))


def parse_ways(text):
    """Read the ways to measure; what is compared with comes with them."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(WAYS)):
        raise argparse.ArgumentTypeError(f"no such way: {', '.join(unknown)}; there are {', '.join(WAYS)}")
    return list(dict.fromkeys([APART, *names]))


def list_pending(config, runs, commands):
    """Yield what is left of runs."""
    model_dir = fetch_model(config.model)
    for run in runs.values():
        left = find_pending(run, Run(run.name, "llm", "single", 0, run.seed, (), commands), model_dir)
        if left:
            yield Chain(run, left)


def plan_adapters(config):
    """Return start and task -> config of the run that trains it."""
    tasks, runs = config.data.tasks, {}
    for place, task in enumerate(tasks, start=1):
        settings = {
            PLAIN: {},
            SHARED: {"freeze_a": True},
            ORTHOGONAL: {"freeze_a": True, "orthogonal": (place, len(tasks))},
        }
        for start, fields in settings.items():
            lora = config.lora.model_copy(update=fields)
            runs[start, task] = derive_run(config, "adapters", f"{start}.{task}", [task], lora=lora)
    return runs


def derive_road(config, start, way):
    """Return the config of the run in which the adapters of a start answer all tasks, apart or merged."""
    runs = plan_adapters(config)
    tasks = config.data.tasks
    settings = {
        APART: {"method": "switched"},
        SUM: {"method": "cat", "weights": (1.0,) * len(tasks)},
        MEAN: {"method": "cat"},
        TIES: {"method": "ties", "density": 0.5, "weights": (1.0,) * len(tasks)},
    }
    adapters = tuple(place_of(runs[start, task].run_dir / "adapter") for task in tasks)
    merge = MergeSection(adapters=adapters, **settings[way])
    return derive_run(config, "roads", f"{start}.{way}", tasks, merge=merge)


def measure(config, roads):
    """Return scores of every road with tests on the same rows, shares of plain adapters apart, and cosines."""
    names = {road: " ".join(road) for road in roads}
    units = read_units(Contender(names[road], run) for road, run in roads.items())
    clusters = read_clusters(config.records_dir, config.evaluate.split, config.evaluate.clusters)
    tasks = {name: compare_answers(answers, config.seed, clusters) for name, answers in units.items()}
    judge(tasks)
    means = average(tasks, names.values())
    whole = means[names[PLAIN, APART]]
    return {
        "tasks": tasks,
        "mean": means,
        "share": {name: mean / whole for name, mean in means.items()},
        "cosines": {start: compare_updates(config, start) for start in STARTS},
        "train_seconds": {start: add_up_seconds(config, start) for start in STARTS},
    }


def compare_updates(config, start):
    """Return pair of tasks -> cosine of the updates of their adapters, over all layers."""
    tasks, runs = config.data.tasks, plan_adapters(config)
    overall = measure_similarity([AdapterFile.open(runs[start, task].run_dir / "adapter") for task in tasks])["overall"]
    return {f"{tasks[i]}, {tasks[j]}": overall[i][j] for i, j in itertools.combinations(range(len(tasks)), 2)}


def add_up_seconds(config, start):
    """Return what the adapters of a start took to train."""
    runs = plan_adapters(config)
    folders = [runs[start, task].run_dir / "adapter" for task in config.data.tasks]
    return round(sum(json.loads((folder / HISTORY).read_text())["seconds"] for folder in folders), 1)


def render(results):
    """Return the tables that people read."""
    tasks = results["tasks"]
    lines = [f"| road | {' | '.join(tasks)} | mean | share |", f"|---|{'---|' * len(tasks)}---|---|"]
    for road, mean in results["mean"].items():
        scores = [task["strategies"][road] for task in tasks.values()]
        shown = [f"{score['score']:.3f} ({score['low']:.2f}-{score['high']:.2f})" for score in scores]
        lines.append(f"| {road} | {' | '.join(shown)} | {mean:.3f} | {results['share'][road]:.1%} |")
    num_rows = (f"{name} {task['num_rows']}" for name, task in tasks.items())
    lines += ["", f"Rows: {', '.join(num_rows)}."]
    for start, cosines in results["cosines"].items():
        lines.append(f"Cosines, {start}: {', '.join(f'{pair}: {cosine:.3f}' for pair, cosine in cosines.items())}.")
    seconds = (f"{start} {seconds:.0f}" for start, seconds in results["train_seconds"].items())
    return "\n".join([*lines, f"Seconds of training: {', '.join(seconds)}."])


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

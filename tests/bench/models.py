"""Architectures of Transformers, small and random: by which road each is trained, and how exactly it is and is merged:
`python -m tests.bench.models [--only NAME,...] [--results PATH]`.

Writes `runs/bench/models.json`: of each architecture `road` (`packed`, `one row`, `refused`) with `reason`, `packed`,
`gradient_error` and `merge_error`, as `tests/training/exactness.py` measures them. Ends with status 1 if one is not as
`tests/training/architectures.py` and the docs have it.
"""

import argparse
import importlib.metadata
import logging
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers

from eshop_ray.artifacts import write_json
from tests.training.architectures import ARCHITECTURES, FAILED, REFUSED
from tests.training.exactness import measure

RESULTS = Path(__file__).parents[2] / "runs" / "bench" / "models.json"
MAX_ERROR = 1e-4
"""Of a gradient, or of a merged model's scores."""


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.models", description=__doc__.partition(":")[0])
    parser.add_argument("--only", type=lambda names: names.split(","), help="these architectures, with commas between")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    started = time.monotonic()
    chosen = [one for one in ARCHITECTURES if not options.only or one.name in options.only]
    rows = {one.name: measure_one(one) for one in chosen}
    write_json(options.results, rows)
    print(render(rows))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "peft", "torch"))
    print(f"{summarize(rows)}; {versions}; {time.monotonic() - started:.0f} s")
    wrong = find_wrong(chosen, rows)
    print("\n".join(wrong))
    raise SystemExit(bool(wrong))


def measure_one(architecture):
    """Return a row of the results; what fails in any other way than by a refusal says how."""
    with TemporaryDirectory() as folder:
        try:
            return measure(architecture, Path(folder))
        except Exception as error:  # whatever one of them does, the others are measured
            reason = f"{type(error).__name__}: {error}"
            return {"gradient_error": None, "merge_error": None, "packed": False, "road": FAILED, "reason": reason}


def find_wrong(architectures, rows):
    """Return what is not as it should be, a line each."""
    lines = []
    for one in architectures:
        row = rows[one.name]
        if row["road"] != one.road or one.reason not in row["reason"]:
            lines.append(f"{one.name}: {row['road']} ({row['reason'][:300]}), not {one.road} ({one.reason})")
        elif row["road"] != REFUSED and not max(row["gradient_error"], row["merge_error"]) <= MAX_ERROR:
            lines.append(f"{one.name}: gradient {row['gradient_error']:.1e}, merged {row['merge_error']:.1e}")
    return lines


def render(rows):
    """Return the table that people read."""
    lines = ["| architecture | road | error of a gradient | of a merged score | reason |", "|---|---|---:|---:|---|"]
    for name, row in rows.items():
        errors = ["" if row[key] is None else f"{row[key]:.1e}" for key in ("gradient_error", "merge_error")]
        lines.append(f"| {name} | {row['road']} | {errors[0]} | {errors[1]} | {row['reason'][:160]} |")
    return "\n".join(lines)


def summarize(rows):
    roads = [row["road"] for row in rows.values()]
    return f"{len(rows)} architectures: " + ", ".join(f"{roads.count(road)} {road}" for road in dict.fromkeys(roads))


if __name__ == "__main__":
    torch.set_num_threads(1)  # for tiny products a second thread costs more than it brings
    main()

"""One engine that exchanges tasks' weights against one that holds a merged model: `python -m tests.bench.switched`.

Both engines stand in processes of their own and are asked in turn: the same prompts, the same number of tokens, as one
would ask for several tasks in a night. No prompt is asked twice: the merged model would have it in its prefix cache,
which an exchange of weights empties. Writes `runs/bench/switched.json`: `switched_vs_dense`, the
rows a second of the one as a share of the other's, median of the repeats; `switch_seconds`, of an exchange, median.
The base is the default model, the updates are drawn at random: what they are does not change how long it takes.
"""

import argparse
import json
import multiprocessing
import shutil
import tempfile
from pathlib import Path
from statistics import median

from eshop_ray.config import ModelSection
from eshop_ray.models import fetch_model
from tests.bench.gpu.switched import Asked, add_updates, draw_rows, merge_alone

TASKS = ("classification", "ner", "summarization")
VOCABULARY = 40_000
"""Words that all models that one might try have."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=128, help="of each task")
    parser.add_argument("--tokens", type=int, default=200, help="of a prompt")
    parser.add_argument("--new-tokens", type=int, default=16, help="of an answer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path("runs/bench/switched.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as workdir:
        figures = measure(Path(workdir), arguments)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def measure(workdir, arguments):
    switched = workdir / "switched"
    shutil.copytree(fetch_model(ModelSection()), switched)
    add_updates(switched, TASKS)
    folders = {"dense": merge_alone(switched, TASKS[0], workdir / "merged"), "switched": switched}
    engines = {name: Engine(folder, arguments.new_tokens) for name, folder in folders.items()}
    speed = {name: [] for name in engines}
    exchanges = []
    for number in range(arguments.repeats + 1):
        rows = draw_rows(VOCABULARY, arguments.rows * len(TASKS), arguments.tokens, seed=number)
        asked = [(TASKS[place // arguments.rows], ids) for place, ids in enumerate(rows)]
        for name in sorted(engines, reverse=number % 2):
            seconds, exchange = engines[name].ask(asked)
            if number:  # the first time warms both up
                speed[name].append(len(asked) / seconds)
                exchanges += [exchange] if exchange else []
    for engine in engines.values():
        engine.close()
    shares = [ours / theirs for ours, theirs in zip(speed["switched"], speed["dense"], strict=True)]
    return {
        "switched_vs_dense": median(shares),
        "shares": shares,
        "switch_seconds": median(exchanges),
        "rows_per_second": {name: median(values) for name, values in speed.items()},
        **{name: value for name, value in vars(arguments).items() if name != "results"},
        "tasks": len(TASKS),
    }


class Engine:
    """An engine in a process of its own."""

    def __init__(self, folder, num_tokens):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=answer, args=(theirs, folder, num_tokens))
        self._process.start()
        self._pipe.recv()

    def ask(self, rows):
        """Return the seconds that the answers took, and those of one exchange among them, 0 if there was none."""
        self._pipe.send(rows)
        return self._pipe.recv()

    def close(self):
        self._pipe.send(None)
        self._process.join()


def answer(pipe, folder, num_tokens):
    """Ask an engine what comes through a pipe."""
    engine = Asked(folder, "cpu", num_tokens)
    pipe.send("ready")
    while rows := pipe.recv():
        engine.switch_seconds, engine.num_switches = 0.0, 0
        seconds, _ = engine.ask(rows)
        pipe.send((seconds, engine.switch_seconds / max(engine.num_switches, 1)))
    engine.close()


if __name__ == "__main__":
    main()

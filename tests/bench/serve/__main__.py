"""The endpoint under load: `python -m tests.bench.serve [--parts guards,memory,overload,faults,vllm]`.

Writes `runs/bench/serve.json`, and leaves figures of parts that were not run as they are:

- `guard_overhead_ms_p95`: one client, a model that answers at once, with and without guards in turns; what the guards
  add to the 95th percentile, milliseconds. Keys have budgets, and both sides go through Ray Serve.
- `memory_growth`: resident memory of proxy, gateway or replica, whichever grows most, after 10,000 requests divided by
  that after 1,000.
- `answered_or_refused_share`: of requests of five times as many clients as there is room for.
- `faults`: replica, proxy and controller killed under load; shares of failed requests, longest silence in seconds.
- `vs_vllm_serve`: our requests per second divided by those of `vllm serve` with the same model and arguments, in turns,
  where the peer answers most; median of the repeats. `levels` has rates, seconds to the first token, and latencies.
"""

import argparse
import json
import logging
from pathlib import Path

from tests.bench.serve.engines import measure_vllm
from tests.bench.serve.parts import measure_faults, measure_growth, measure_guards, measure_overload

ROOT = Path(__file__).parents[3]
PARTS = {
    "guards": measure_guards,
    "memory": measure_growth,
    "overload": measure_overload,
    "faults": measure_faults,
    "vllm": measure_vllm,
}
SHOWN = ("vs_vllm_serve", "guard_overhead_ms_p95", "answered_or_refused_share", "memory_growth", "faults")


def main(words=None):
    """Run the parts that are named, all of them unless some are."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serve", description=__doc__.partition(":")[0])
    parser.add_argument("--parts", type=read_parts, default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000, help="of each side and round of `guards`; of `overload`")
    parser.add_argument("--growth-requests", type=int, default=10_000, help="of `memory`")
    parser.add_argument("--fault-seconds", type=float, default=60.0, help="of load for each fault")
    parser.add_argument("--levels", type=read_levels, default=[1, 4, 16, 64], help="clients at a time against `vllm`")
    parser.add_argument("--new-tokens", type=int, default=32, help="of an answer, against `vllm`")
    parser.add_argument("--results", type=Path, default=ROOT / "runs" / "bench" / "serve.json")
    settings = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request
    for part in settings.parts:
        write_figures(settings.results, PARTS[part](settings))


def read_parts(text):
    """Return parts by their names."""
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def read_levels(text):
    """Return numbers of clients, the fewest first."""
    return sorted(int(part) for part in text.split(","))


def write_figures(path, figures):
    """Put figures beside those that other parts wrote before, and show them."""
    former = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**former, **figures}, indent=2) + "\n")
    for name in SHOWN:
        if name in figures:
            print(f"{name}: {figures[name]}", flush=True)


if __name__ == "__main__":
    main()

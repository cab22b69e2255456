"""Compare two runs row by row, and hold the second to a gate."""

import logging
from pathlib import Path

from eshop_ray import artifacts
from eshop_ray.evaluation.comparison.flips import FlipStore
from eshop_ray.evaluation.comparison.gate import check_gate, read_gate
from eshop_ray.evaluation.comparison.report import print_comparison, write_report
from eshop_ray.evaluation.comparison.runs import compare_runs, find_predictions, find_records
from eshop_ray.tasks.metrics.bootstrap import LEVEL

logger = logging.getLogger(__name__)


def run(first: str, second: str, out: str, split: str | None = None, gate: str | None = None, seed: int = 0) -> None:
    """Write `comparison.json`, `comparison.html` and `flips.jsonl`, and print the scores.

    Args:
        first: Run directory, or folder of predictions, of what is there today.
        second: The same of what may replace it.
        out: Folder of the files.
        split: That was answered; None where there is only one.
        gate: YAML file that says how much may be lost.
        seed: Of draws.

    Raises:
        GateError: if the second run loses more than the gate allows.
        UserError: if there are no predictions, or they are not of the same rows.
    """
    rules = read_gate(Path(gate)) if gate else None
    folders = [find_predictions(Path(name), split) for name in (first, second)]
    level = rules.level if rules else LEVEL
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with FlipStore(folder) as flips:
        comparison = compare_runs(folders[0], folders[1], seed, flips, level, find_records(folders[1]))
        artifacts.write_json(folder / "comparison.json", comparison)
        page = write_report(comparison, flips.read(), folder)
    print_comparison(comparison)
    logger.info("report: %s", page)
    if rules:
        check_gate(rules, comparison)

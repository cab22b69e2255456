"""The search for a mixture: every candidate's losses on validation rows, against each task's own adapter."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eshop_ray.config import Config
from eshop_ray.config.experiment import EQUAL_RANKS
from eshop_ray.data.cleaning import VALIDATION
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import list_splits, read_split
from eshop_ray.data.tokenization import add_tokens
from eshop_ray.errors import UserError
from eshop_ray.experiments.ledger import Ledger
from eshop_ray.experiments.losses import Exam, build_exam
from eshop_ray.experiments.pareto import Losses, compare, rank
from eshop_ray.experiments.pool import run_trials
from eshop_ray.experiments.trials import BASE, SearchPlan
from eshop_ray.experiments.worker import Setup, count_cores, count_workers, start_worker
from eshop_ray.models import model_digest
from eshop_ray.progress import watch
from eshop_ray.training.merging.adapters import AdapterFile
from eshop_ray.training.merging.recipe import check_adapter, check_merge
from eshop_ray.training.tokens import INDEX, TokenStore, write_tokens

logger = logging.getLogger(__name__)

LEDGER, TOKENS = "losses.jsonl", "tokens"


def search_losses(
    config: Config,
    model_dir: Path,
    adapters: Sequence[AdapterFile],
    tasks_of: Mapping[str, Sequence[str]],
    mixed: AdapterFile | None = None,
) -> dict[str, Any]:
    """Measure every candidate of the grid and return `search.json` as far as it needs no generated answers.

    Each measurement is kept at once under `run_dir/search/INPUTS`: a search that was killed goes on, and a larger grid
    measures only what is new. Ray must have been started.

    Args:
        config: Sections `search` and `train`, `seed`, and where the records are.
        model_dir: The base.
        adapters: What is merged, in the order of the weights.
        tasks_of: Adapter's name in the report -> tasks that it was trained on, in the order of the adapters.
        mixed: The adapter of the strategy `mixed`, measured for comparison.

    Raises:
        UserError: if there are fewer than two adapters, no usable rows of `validation`, adapters that do not go
            together, or a candidate that cannot be measured.
    """
    started = time.monotonic()
    plan = SearchPlan(config, model_dir, adapters, tasks_of, mixed)
    check_search(plan)
    folder = config.run_dir / "search" / plan.inputs[:16]
    exam = prepare_exam(plan, folder / TOKENS)
    ledger = Ledger(folder / LEDGER)
    num_workers = count_workers(config.search)
    earlier = sum(ledger[trial.key].seconds for trial in plan.trials if trial.key in ledger)
    _measure(plan, folder / TOKENS, exam.num_rows, ledger, num_workers)
    seconds = time.monotonic() - started + earlier / num_workers
    return {**summarize(plan, exam, ledger), "num_workers": num_workers, "seconds": round(seconds, 3)}


def check_search(plan: SearchPlan) -> None:
    """Refuse what cannot be searched before anything is loaded.

    Raises:
        UserError: saying what to do.
    """
    if len(plan.adapters) < 2:
        raise UserError(
            f"a merge needs at least two adapters, and there are {len(plan.adapters)}; name more tasks in "
            "`data.tasks`, or set `experiment.num_shards` or `experiment.seeds`, and run "
            "`python -m jobs.train_strategies` with the same config"
        )
    if VALIDATION not in list_splits(plan.config.records_dir):
        raise UserError(
            f"{plan.config.records_dir} has no split `{VALIDATION}`, by which a mixture is chosen; set "
            "`data.validation_share`, e.g. to 0.1, and run `python -m jobs.prepare_data` and "
            "`python -m jobs.train_strategies` again"
        )
    if not plan.candidates:
        raise UserError("section `search` leaves nothing to try; give at least one method, and a scale that is not 0")
    base_digest = model_digest(plan.model_dir)
    for adapter in (plan.adapters[0], *([plan.mixed] if plan.mixed else [])):
        check_adapter(adapter.folder, plan.model_dir, base_digest)
    strictest = max(plan.candidates, key=lambda candidate: candidate.method in EQUAL_RANKS)
    check_merge(plan.adapters, strictest.to_merge())


def prepare_exam(plan: SearchPlan, tokens_dir: Path) -> Exam:
    """Return the validation rows that candidates are measured by, tokenised unless an earlier search has done it.

    Raises:
        UserError: if a task has no usable row.
    """
    config = plan.config
    if (tokens_dir / INDEX).exists():
        store = TokenStore.open(tokens_dir)
    else:
        records = read_split(config.records_dir, VALIDATION, plan.tasks, config.search.max_rows)
        store = write_tokens(add_tokens(add_prompts(records), plan.model_dir, config.train.max_row_length), tokens_dir)
    missing = sorted(set(plan.tasks) - set(store.tasks.tolist()))
    if missing:
        raise UserError(
            f"no row of split `{VALIDATION}` can be used for {', '.join(missing)}; raise `data.validation_share` or "
            f"`train.max_row_length`, now {config.train.max_row_length}, or look at the records"
        )
    if store.num_errors or store.num_too_long:
        logger.warning("left out: %d rows with errors, %d too long", store.num_errors, store.num_too_long)
    return build_exam(store, config.train)


def summarize(plan: SearchPlan, exam: Exam, ledger: Ledger) -> dict[str, Any]:
    """Return the fields of `search.json` that follow from the losses.

    Raises:
        UserError: if a task's own adapters have no finite loss to compare with.
    """
    references: dict[str, Losses] = {name: ledger[adapter.digest].losses for name, adapter in plan.references.items()}
    best_single = {task: _find_best(plan, references, task) for task in plan.tasks}
    candidates = [
        {
            "id": candidate.id,
            "method": candidate.method,
            "weights": list(candidate.weights),
            "density": candidate.density,
            "wise_ft": candidate.wise_ft,
            "losses": ledger[candidate.id].losses,
            **compare(ledger[candidate.id].losses, best_single),
            "seconds": ledger[candidate.id].seconds,
            "scores": None,
        }
        for candidate in plan.candidates
    ]
    return {
        "inputs": plan.inputs,
        "split": VALIDATION,
        "seed": plan.config.seed,
        "adapters": [
            {"name": name, "tasks": list(tasks), "dir": str(adapter.folder), "digest": adapter.digest}
            for (name, tasks), adapter in zip(plan.tasks_of.items(), plan.adapters, strict=True)
        ],
        "rows": dict(exam.rows),
        "references": {BASE: ledger[BASE].losses, **references},
        "candidates": rank(candidates),
        "num_candidates": len(candidates),
    }


def _measure(plan: SearchPlan, tokens_dir: Path, num_rows: int, ledger: Ledger, num_workers: int) -> None:
    """Measure what is not in the ledger yet, by `num_rows` rows each."""
    missing = [trial for trial in plan.trials if trial.key not in ledger]
    if not missing:
        return
    logger.info("measuring %d of %d updates, %d workers", len(missing), len(plan.trials), num_workers)
    folders = {name: adapter.folder for name, adapter in plan.references.items()}
    num_threads = max(1, count_cores() // num_workers)
    setup = Setup(plan.config, plan.model_dir, list(plan.tasks_of), folders, tokens_dir, num_threads)
    with watch("searching", len(missing) * num_rows) as board:
        for measurement in run_trials(lambda: start_worker(setup, board), missing, num_workers):
            ledger.add(measurement)


def _find_best(plan: SearchPlan, references: Mapping[str, Losses], task: str) -> float:
    """Return the lowest loss of a task under an adapter that was trained on it."""
    losses = [references[name][task] for name, tasks in plan.tasks_of.items() if task in tasks]
    finite = [loss for loss in losses if loss is not None]
    if not finite:
        raise UserError(
            f"the loss of {task} under its own adapter is no number, so nothing can be compared with it; train it again"
        )
    return min(finite)

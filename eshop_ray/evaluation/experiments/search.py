"""The search for a mixture: every candidate's losses on validation rows, against each task's own adapter."""

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eshop_ray.artifacts import fetch, find_complete, share_folder, share_stored
from eshop_ray.config import Config
from eshop_ray.config.experiment import EQUAL_RANKS
from eshop_ray.data.cleaning import VALIDATION
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import list_splits, read_split
from eshop_ray.data.tokenization import add_tokens
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.candidates import Candidate
from eshop_ray.evaluation.experiments.losses import EvalSet, build_eval_set, pool_losses
from eshop_ray.evaluation.experiments.measurement_log import MeasurementLog
from eshop_ray.evaluation.experiments.pareto import Losses, compare, pick_few, rank
from eshop_ray.evaluation.experiments.pool import run_trials
from eshop_ray.evaluation.experiments.trials import BASE, SearchPlan, Trial, to_key
from eshop_ray.evaluation.experiments.worker import Setup, count_cores, count_workers, start_worker
from eshop_ray.models import model_digest
from eshop_ray.progress import watch
from eshop_ray.training.merging.adapters import AdapterFile
from eshop_ray.training.merging.recipe import check_adapter, check_merge
from eshop_ray.training.tokens import TokenStore, write_tokens

logger = logging.getLogger(__name__)

LOSSES, TOKENS = "losses.jsonl", "tokens"


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
    store = prepare_tokens(plan, folder / TOKENS)
    eval_sets = {places: build_eval_set(store, config.train, places) for places in plan.stages}
    eval_sets = {places: eval_set for places, eval_set in eval_sets.items() if eval_set.num_rows}
    with MeasurementLog(folder / LOSSES) as log:
        course = _Course(plan, eval_sets, folder, log, count_workers(config.search))
        candidates = course.run_stages()
        seconds = time.monotonic() - started + course.earlier_seconds / course.num_workers
        return {**course.summarize(candidates), "num_workers": course.num_workers, "seconds": round(seconds, 3)}


def check_search(plan: SearchPlan) -> None:
    """Refuse what cannot be searched before anything is loaded.

    Raises:
        UserError: saying what to do.
    """
    if len(plan.adapters) < 2:
        raise UserError(
            f"a merge needs at least two adapters, and there are {len(plan.adapters)}; name more tasks in "
            "`data.tasks`, or set `experiment.num_shards` or `experiment.seeds`, and run "
            "`eshop train-strategies` with the same config"
        )
    if VALIDATION not in list_splits(plan.config.records_dir):
        raise UserError(
            f"{plan.config.records_dir} has no split `{VALIDATION}`, by which a mixture is chosen; set "
            "`data.validation_share`, e.g. to 0.1, and run `eshop prepare-data` and "
            "`eshop train-strategies` again"
        )
    if not plan.candidates:
        raise UserError("section `search` leaves nothing to try; give at least one method, and a scale that is not 0")
    base_digest = model_digest(plan.model_dir)
    for adapter in (plan.adapters[0], *([plan.mixed] if plan.mixed else [])):
        check_adapter(adapter.folder, plan.model_dir, base_digest)
    strictest = max(plan.candidates, key=lambda candidate: candidate.method in EQUAL_RANKS)
    check_merge(plan.adapters, strictest.to_merge())


def prepare_tokens(plan: SearchPlan, tokens_dir: Path) -> TokenStore:
    """Return the validation rows that candidates are measured by, tokenised unless an earlier search has done it.

    Raises:
        UserError: if a task has no usable row.
    """
    config = plan.config
    manifest = find_complete(tokens_dir)
    if manifest is not None:
        fetch(tokens_dir, manifest)
        store = TokenStore.open(tokens_dir)
    else:
        records = read_split(config.records_dir, VALIDATION, plan.tasks, config.search.max_rows)
        shared = share_folder(plan.model_dir, config.run_dir)
        store = write_tokens(add_tokens(add_prompts(records), shared, config.train.max_row_length), tokens_dir)
    missing = sorted(set(plan.tasks) - set(store.tasks.tolist()))
    if missing:
        raise UserError(
            f"no row of split `{VALIDATION}` can be used for {', '.join(missing)}; raise `data.validation_share` or "
            f"`train.max_row_length`, now {config.train.max_row_length}, or look at the records"
        )
    if store.num_errors or store.num_too_long:
        logger.warning("left out: %d rows with errors, %d too long", store.num_errors, store.num_too_long)
    return store


@dataclass
class _Course:
    """One search at work."""

    plan: SearchPlan
    eval_sets: Mapping[range, EvalSet]
    """What each stage adds, in their order; none adds nothing."""
    folder: Path
    log: MeasurementLog
    num_workers: int
    earlier_seconds: float = 0.0
    """What measurements took that an earlier search had made."""

    def run_stages(self) -> list[dict[str, Any]]:
        """Measure all candidates by few rows, the best of them by more, and so on (successive halving, Jamieson and
        Talwalkar 2016): candidates are compared on equal rows, so that few are enough to tell the hopeless ones.

        Returns:
            The candidates as `search.json` has them, each with the losses over the rows of all its stages.
        """
        search = self.plan.config.search
        found: dict[str, dict[str, Any]] = {}
        candidates, past = self.plan.candidates, list[range]()
        for places, eval_set in self.eval_sets.items():
            self._measure(self.plan.plan_stage(places, candidates), eval_set.num_rows)
            past.append(places)
            best_single = {task: self._find_best(task, past) for task in self.plan.tasks}
            found |= {candidate.id: self._describe(candidate, past, best_single) for candidate in candidates}
            num_kept = max(search.num_confirmed, math.ceil(search.kept_share * len(candidates)))
            kept = pick_few(list(found.values()), num_kept)
            candidates = [candidate for candidate in candidates if candidate.id in kept]
        return rank(list(found.values()))

    def _describe(
        self, candidate: Candidate, past: Sequence[range], best_single: Mapping[str, float]
    ) -> dict[str, Any]:
        losses = self._read(candidate.id, past)
        seconds = sum(self.log[to_key(candidate.id, places)].seconds for places in past)
        return {
            **asdict(candidate),
            "id": candidate.id,
            "weights": list(candidate.weights),
            "num_rows": sum(self.eval_sets[places].num_rows for places in past),
            "losses": losses,
            **compare(losses, best_single),
            "seconds": round(seconds, 3),
            "scores": None,
        }

    def summarize(self, candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the fields of `search.json` that follow from the losses; references are of the rows of all stages."""
        plan, past = self.plan, list(self.eval_sets)
        references = {name: self._read(adapter.digest, past) for name, adapter in plan.references.items()}
        rows: Counter[str] = sum((Counter(eval_set.rows) for eval_set in self.eval_sets.values()), Counter())
        return {
            "inputs": plan.inputs,
            "split": VALIDATION,
            "seed": plan.config.seed,
            "adapters": [
                {"name": name, "tasks": list(tasks), "dir": str(adapter.folder), "digest": adapter.digest}
                for (name, tasks), adapter in zip(plan.tasks_of.items(), plan.adapters, strict=True)
            ],
            "rows": dict(sorted(rows.items())),
            "references": {BASE: self._read(BASE, past), **references},
            "candidates": candidates,
            "num_candidates": len(candidates),
        }

    def _measure(self, trials: Sequence[Trial], num_rows: int) -> None:
        """Measure what is not in the log yet, each by `num_rows` rows."""
        missing = [trial for trial in trials if trial.key not in self.log]
        self.earlier_seconds += sum(self.log[trial.key].seconds for trial in trials if trial.key in self.log)
        if not missing:
            return
        logger.info("measuring %d of %d updates, %d workers", len(missing), len(trials), self.num_workers)
        plan = self.plan
        folders = {name: share_stored(adapter.folder) for name, adapter in plan.references.items()}
        shared = share_folder(plan.model_dir, plan.config.run_dir)
        num_threads = max(1, count_cores() // self.num_workers)
        tokens = share_stored(self.folder / TOKENS)
        setup = Setup(plan.config, shared, list(plan.tasks_of), folders, tokens, num_threads)
        with watch("searching", len(missing) * num_rows) as board:
            for measurement in run_trials(lambda: start_worker(setup), missing, self.num_workers):
                self.log.add(measurement)
                board.add(rows=num_rows)

    def _read(self, update: str, past: Sequence[range]) -> Losses:
        """Return the losses over the rows of several stages."""
        return pool_losses((self.eval_sets[places], self.log[to_key(update, places)].losses) for places in past)

    def _find_best(self, task: str, past: Sequence[range]) -> float:
        """Return the lowest loss of a task under an adapter that was trained on it.

        Raises:
            UserError: if none of them is finite.
        """
        references, tasks_of = self.plan.references, self.plan.tasks_of
        own = [references[name] for name, tasks in tasks_of.items() if task in tasks]
        finite = [loss for adapter in own if (loss := self._read(adapter.digest, past)[task]) is not None]
        if not finite:
            raise UserError(
                f"the loss of {task} under its own adapter is no number, so nothing can be compared with it; "
                "train it again"
            )
        return min(finite)

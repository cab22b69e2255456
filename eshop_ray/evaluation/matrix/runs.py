"""Filling the matrix: the jobs of each run that are not done yet, run as an experiment's are."""

import logging
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.chains import (
    ANSWER,
    MERGE_AND_ANSWER,
    TRAIN,
    Chain,
    Command,
    Needs,
    needs_of_inference,
    needs_of_training,
)
from eshop_ray.evaluation.experiments.launch import try_chains
from eshop_ray.evaluation.experiments.members import derive_run
from eshop_ray.evaluation.matrix.plan import Run
from eshop_ray.inference.batch import fingerprint_inference
from eshop_ray.inference.build import choose_engine, find_answering_model
from eshop_ray.models import fetch_model, model_digest
from eshop_ray.training.conventional.trainer import CONVENTIONAL, fingerprint_conventional
from eshop_ray.training.merging.recipe import Recipe
from eshop_ray.training.trainer import fingerprint_training

logger = logging.getLogger(__name__)

CELLS = "cells"
"""In the matrix's run directory: a run directory for each run."""


def derive(config: Config, run: Run) -> Config:
    """Return the config of a run: the matrix's own but for what makes the cell what it is."""
    tasks = tuple(dict.fromkeys(unit.task for unit in run.units))
    derived = derive_run(config, CELLS, run.name, tasks, seed=run.seed)
    own = {section: dict(values) for section, values in run.settings.items()}
    own.setdefault("data", {})["groups"] = tuple(unit.group for unit in run.units)
    own["infer"] = {"models": (run.answers_as,)}
    if run.adapters_of:
        folders = tuple(str(derived.run_dir.parent / name / "adapter") for name in run.adapters_of)
        method = config.merge.model_dump(exclude={"adapters", "digests"}) if len(folders) > 1 else {}
        own["merge"] = {**method, "adapters": folders, **own.get("merge", {})}
    if run.starts_from:
        own["lora"] = {"init_from": str(derived.run_dir.parent / run.starts_from / "adapter")}
    if run.taught_by:
        own["train"] = {**own.get("train", {}), "teacher": str(derived.run_dir.parent / run.taught_by.name / "merged")}
    sections = {name: getattr(derived, name).model_copy(update=values) for name, values in own.items()}
    return derived.model_copy(update=sections)


def fill(config: Config, runs: Sequence[Run], model_dir: Path) -> dict[str, str]:
    """Do what is left of all runs; one that fails stops nobody but those that take what it makes.

    Args:
        config: The matrix's.
        runs: From `plan_runs`.
        model_dir: The base.

    Returns:
        Name of each run that failed -> why.
    """
    failed: dict[str, str] = {}
    for wave in _order(runs):
        ready = []
        for run in wave:
            missing = [name for name in run.needs if name in failed]
            if missing:
                failed[run.name] = f"{run.name}: it takes what {missing[0]} makes, which failed"
            else:
                ready.append(run)
        chains = list(_list_chains(config, ready, model_dir, failed))
        logger.info("%d of %d runs are complete", len(ready) - len(chains), len(ready))
        failures = try_chains(config.ray, chains, _add_needs(config), config.matrix.max_parallel)
        failed.update({failure.name: failure.reason for failure in failures})
    return failed


def _order(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Yield runs in waves, each of those that need none but earlier ones."""
    sorter = TopologicalSorter({run.name: run.needs for run in runs})
    sorter.prepare()
    while sorter.is_active():
        names = sorter.get_ready()
        yield [run for run in runs if run.name in names]
        sorter.done(*names)


def _list_chains(config: Config, runs: Sequence[Run], model_dir: Path, failed: dict[str, str]) -> Iterator[Chain]:
    for run in runs:
        derived = derive(config, run)
        try:
            commands = find_pending(derived, run, model_dir)
        except UserError as error:  # e.g. adapters that do not go together: this run's trouble
            failed[run.name] = f"{run.name}: {error}"
            continue
        if commands:
            yield Chain(derived, commands)


def find_pending(config: Config, run: Run, model_dir: Path) -> tuple[Command, ...]:
    """Return the commands of a run that are not done: the fingerprints of their inputs decide.

    A process that only finds out that it has nothing to do costs seconds, and a matrix has a hundred.

    Args:
        config: The run's own.
        run: Which.
        model_dir: The base.

    Raises:
        UserError: if what is to be merged cannot be.
    """
    records = artifacts.read_manifest(config.records_dir, job="prepare_data").digest
    if not _is_trained(config, run, records, model_dir):
        return run.commands
    if not run.is_answering:
        return ()
    if run.answers_as == "merged":
        merged = artifacts.find_complete(config.run_dir / "merged")
        if merged is None or merged.inputs != Recipe.of(config, model_dir).inputs:
            return MERGE_AND_ANSWER
    answering = find_answering_model(config, run.answers_as).digest
    inputs = fingerprint_inference(choose_engine(config, run.answers_as), records, answering)
    return () if artifacts.is_current(config.predictions_dir(run.answers_as), inputs) else ANSWER


def _is_trained(config: Config, run: Run, records: str, model_dir: Path) -> bool:
    """Whether there is what a run trains, made from these inputs; a run that trains nothing has all."""
    if run.answers_as == "conventional":
        source = config.model.model_copy(update={"source": config.conventional.source, "template_options": {}})
        inputs = fingerprint_conventional(config, records, model_digest(fetch_model(source, for_chat=False)))
        return artifacts.is_current(config.run_dir / CONVENTIONAL, inputs)
    inputs = fingerprint_training(config, records, model_digest(model_dir))
    return TRAIN[0] not in run.commands or artifacts.is_current(config.run_dir / "adapter", inputs)


def _add_needs(config: Config) -> Needs:
    """Return what a run holds at most: it trains first and answers then."""
    infer = needs_of_inference(config.infer)
    sections = [config.train, *([config.conventional] if set(config.matrix.models) - {"llm"} else [])]
    needs = [infer, *map(needs_of_training, sections)]
    return Needs(max(one.num_cpus for one in needs), max(one.num_gpus for one in needs), infer.max_parallel)

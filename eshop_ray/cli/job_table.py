"""The jobs in groups, with what each of them reads and writes: the one list that help, docs and tests go by."""

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from eshop_ray.errors import UserError, find_nearest

Group = Literal["Data", "Training", "Inference", "Evaluation", "Nightly table", "Serving", "Tools"]

GROUPS: tuple[Group, ...] = get_args(Group)
"""In the order in which help and docs show them."""

_FOLDER = Path(__file__).parents[1] / "jobs"


@dataclass(frozen=True)
class Job:
    """One job; its module is `eshop_ray.jobs.NAME`."""

    name: str
    """As Python writes it, e.g. `enrich_catalog`."""
    group: Group
    """What it is for, roughly."""
    reads: str
    """Files, folders or tables; folders without a root are those of the run directory."""
    writes: str
    """Likewise."""
    asks_model: bool = False
    """Whether it starts the engine of `infer.engine`."""
    owns_run: bool = True
    """Whether it has the run directory to itself. Others only read it, or have files that look after themselves: a
    night takes the table over from one that hangs, a batch locks its output."""

    @property
    def command(self) -> str:
        """The name as a shell writes it, e.g. `enrich-catalog`."""
        return self.name.replace("_", "-")

    @property
    def module(self) -> str:
        """Where `run(config)` is."""
        return f"eshop_ray.jobs.{self.name}"

    @cached_property
    def purpose(self) -> str:
        """The first line of the module's docstring, read without importing the module."""
        docstring = ast.get_docstring(ast.parse((_FOLDER / f"{self.name}.py").read_text(encoding="utf-8")))
        assert docstring is not None
        return docstring.partition("\n")[0]


JOBS: tuple[Job, ...] = (
    Job("make_sample_shop", "Data", "nothing", "the shop's raw files in `data.root`"),
    Job("inspect", "Data", "the files of a catalogue, as they are", "nothing", owns_run=False),
    Job("build_instructions", "Data", "the files of `instructions.sources`", "`instructions/` and `card.html`"),
    Job("prepare_data", "Data", "the files of `data.sources`", "`records/`"),
    Job("train_lora", "Training", "`records/` and the base model", "`adapter/`"),
    Job("train_encoder", "Training", "`records/` and the model `conventional.source`", "`conventional/`"),
    Job("merge_lora", "Training", "`adapter/`, or the folders of `merge.adapters`, and the base model", "`merged/`"),
    Job("quantize", "Training", "`merged/` or the base model, and `records/` to calibrate 4 bits", "`quantized/`"),
    Job("train_strategies", "Training", "`records/` and the base model", "a run for each adapter in `adapters/`"),
    Job(
        "search_merge",
        "Training",
        "`adapters/` and `records/`",
        "`search.json`, `similarity.json`, a run for each merge that is confirmed in `merges/`, and `recipe.yaml`",
        asks_model=True,
    ),
    Job("batch_infer", "Inference", "`records/` and the models of `infer.models`", "`predictions/`", asks_model=True),
    Job(
        "run_batch",
        "Inference",
        "requests and a model",
        "answers, and errors apart from them",
        asks_model=True,
        owns_run=False,
    ),
    Job("evaluate", "Evaluation", "`predictions/` and `records/`", "`metrics.json` and `report.html`"),
    Job(
        "compare",
        "Evaluation",
        "the predictions of two runs, and a gate file",
        "`comparison.json`, `comparison.html` and `flips.jsonl`",
        owns_run=False,
    ),
    Job(
        "shopbench",
        "Evaluation",
        "the file of `shopbench.path` and a model, or a submission",
        "`shopbench/`, `shopbench.json` and `shopbench.html`",
        asks_model=True,
    ),
    Job(
        "compare_strategies",
        "Evaluation",
        "`adapters/`, `records/` and `recipe.yaml`",
        "`experiment.json` and `experiment.html`",
        asks_model=True,
    ),
    Job(
        "run_experiments",
        "Evaluation",
        "`records/` and the models of `matrix`",
        "a run for each cell in `cells/`, `matrix.json` and `matrix.html`",
        asks_model=True,
    ),
    Job(
        "enrich_catalog",
        "Nightly table",
        "the files of `catalog` and `reviews`, the table so far, and the model that `enrich.model` names",
        "the Delta table `table.uri`, the table of quarantined rows beside it, and `enrichment.html`",
        asks_model=True,
        owns_run=False,
    ),
    Job(
        "replay_quarantine",
        "Nightly table",
        "what `enrich-catalog` reads, and the table of quarantined rows",
        "what `enrich-catalog` writes",
        asks_model=True,
        owns_run=False,
    ),
    Job(
        "verify",
        "Nightly table",
        "the Delta table `table.uri` and everything it was made from",
        "nothing; with `--repair`, both tables without what is damaged",
        owns_run=False,
    ),
    Job(
        "rollback",
        "Nightly table",
        "the Delta table `table.uri`, the table of quarantined rows, and their logs",
        "a version of both that is as an earlier night left them",
        owns_run=False,
    ),
    Job(
        "erase",
        "Nightly table",
        "the Delta table `table.uri`, the table of quarantined rows, `enrichment.json`, the files of `reviews`",
        "all of these without what was derived from the products or the users' reviews",
        owns_run=False,
    ),
    Job(
        "build_index",
        "Serving",
        "the Delta table `table.uri`, the files of `catalog` and `reviews`",
        "the search index `index.uri`",
        owns_run=False,
    ),
    Job(
        "serve",
        "Serving",
        "`merged/`, or the base and `serve.adapters`; `index.uri` if it is there",
        "`serve-ledger/`, `serve-batches/`; with `--write` a file for `serve deploy`, and nothing else",
        owns_run=False,
    ),
    Job("make_key", "Serving", "nothing", "nothing; it prints a key and its line of a key file", owns_run=False),
    Job("demo", "Tools", "the base model", "a shop, and all that the other jobs make of it", asks_model=True),
    Job("fetch_model", "Tools", "`model.source`", "the model cache", owns_run=False),
    Job("autotune", "Tools", "the config, `records/` and a model", "the config and `autotune.json`", asks_model=True),
)


def get_job(name: str) -> Job:
    """Return a job by its name, written with underscores or dashes.

    Raises:
        UserError: naming the nearest job when there is none of that name.
    """
    by_command = {job.command: job for job in JOBS}
    command = name.replace("_", "-")
    if command not in by_command:
        nearest = find_nearest(command, by_command)
        raise UserError(f"unknown job `{name}`; did you mean `{nearest}`? `eshop --help` lists all jobs")
    return by_command[command]

"""Which runs fill the matrix: plain values, before anything starts.

single/ner/500 --train-lora, merge-lora, batch-infer--> a cell
mixed/500      --train-lora, merge-lora, batch-infer--> a cell for each group
soup/ner/500   --merge-lora, batch-infer--> a cell, once the adapters of its seeds or shards are there
merged/500     --merge-lora, batch-infer--> the same, once the adapters of `single` are there
distilled/500  --train-lora, merge-lora, batch-infer--> the same, once `mixed` and `switched` are there
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from types import MappingProxyType
from typing import Any

from eshop_ray.config.few_shot import ExampleChoice
from eshop_ray.config.matrix import MatrixModel, MatrixSection, MatrixStrategy
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.chains import ANSWER, ESHOP, MERGE_AND_ANSWER, TRAIN, Command
from eshop_ray.evaluation.matrix.units import Unit
from eshop_ray.tasks import get_task

UNTRAINED = 0
"""Size of a cell whose model has learned from no row."""

TRAIN_AND_ANSWER = (*TRAIN, *MERGE_AND_ANSWER)
TRAIN_ENCODER: tuple[Command, ...] = ((*ESHOP, "train-encoder"), *ANSWER)

Settings = Mapping[str, Mapping[str, Any]]
"""Section -> its fields that differ from those of the matrix's config."""
NO_SETTINGS: Settings = MappingProxyType({})

COMBINED: Mapping[MatrixStrategy, Settings] = {
    "merged": {},
    "switched": {"merge": {"method": "switched", "weights": (), "wise_ft": 1.0}},
}
"""Strategies that make one model of the adapters of `single`, and how."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of its own, which fills one cell for each group that it answers."""

    name: str
    """Of its folder below `cells/`."""
    model: MatrixModel
    strategy: MatrixStrategy
    size: int
    """Rows of each group that it learned from, by the ladder; 0 for none."""
    seed: int
    units: tuple[Unit, ...]
    commands: tuple[Command, ...]
    settings: Settings = field(default_factory=dict)
    answers_as: str = "merged"
    """Which of the run's models answers, as `infer.models` calls it."""
    adapters_of: tuple[str, ...] = ()
    """Runs whose adapters it merges; it waits for them."""
    starts_from: str | None = None
    """Run whose adapter it goes on from; it waits for that."""
    taught_by: "Run | None" = None
    """Run whose merged model is its teacher; it waits for that."""
    num_examples: int = 0
    """In each prompt."""
    choice: ExampleChoice | None = None
    """How they are chosen; None: as the matrix's config says."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Runs that it waits for."""
        teacher = self.taught_by.name if self.taught_by else None
        return (*self.adapters_of, *filter(None, (self.starts_from, teacher)))

    @property
    def learned_in(self) -> tuple[str, ...]:
        """Runs whose training is in its model: its own, if it trains, and that of adapters that it was made of."""
        taught_by = self.taught_by.learned_in if self.taught_by else ()
        return (*(self.adapters_of or (self.name,)), *filter(None, [self.starts_from]), *taught_by)

    @property
    def is_answering(self) -> bool:
        """Whether it fills cells; others train an adapter that is merged only."""
        return ANSWER[0] in self.commands


def plan_runs(matrix: MatrixSection, units: Sequence[Unit], seed: int) -> list[Run]:
    """Return the runs that fill the matrix, what others wait for first.

    Args:
        matrix: What is compared.
        units: Groups of records.
        seed: Of the config.

    Raises:
        UserError: if strategies are named that need others, or there is nothing to compare.
    """
    seeds = matrix.seeds or (seed,)
    _check(matrix, units, len(seeds))
    wanted = matrix.strategies
    runs: list[Run] = []
    if "llm" in matrix.models:
        runs += _plan_base(matrix, units, seeds[0])
        for one in seeds:
            runs += _plan_tuned(matrix, units, one)
        if "soup" in wanted:
            runs += _plan_soups(matrix, units, seeds)
    for model in matrix.models:
        if model != "llm" and "single" in wanted:
            runs += [
                _plan_conventional(matrix, model, unit, size, one)
                for one in seeds
                for unit in units
                if can_answer(model, unit)
                for size in list_rungs(unit, matrix.sizes)
            ]
    return runs


def can_answer(model: MatrixModel, unit: Unit) -> bool:
    """Whether a model can be trained for a task: an encoder has heads and does not write."""
    return model != "encoder" or bool(get_task(unit.task).heads)


def list_rungs(unit: Unit, sizes: Sequence[int]) -> list[int]:
    """Return the sizes that differ for a group: from the first that takes all of its rows on, all are the same."""
    ordered = sorted(sizes)
    return [size for place, size in enumerate(ordered) if not place or ordered[place - 1] < unit.num_train_rows]


def find_rung(unit: Unit, size: int, sizes: Sequence[int]) -> int:
    """Return the size under which a group's rows of a size are trained on."""
    return min(size, list_rungs(unit, sizes)[-1])


def _check(matrix: MatrixSection, units: Sequence[Unit], num_seeds: int) -> None:
    for strategy in (*COMBINED, "wise-ft", *([] if matrix.soup_shards else ["soup"])):
        if strategy in matrix.strategies and "single" not in matrix.strategies and "llm" in matrix.models:
            raise UserError(f"`matrix.strategies`: `{strategy}` takes the adapters of `single`; name both")
    if "distilled" in matrix.strategies and not {"mixed", "switched"} <= set(matrix.strategies):
        raise UserError(
            "`matrix.strategies`: `distilled` goes on from the adapter of `mixed` and learns from `switched`; name both"
        )
    combined = [strategy for strategy in COMBINED if strategy in matrix.strategies]
    if combined and "llm" in matrix.models and len(units) < 2:
        raise UserError(
            f"`matrix.strategies`: `{combined[0]}` takes several groups, and there is {units[0].name} alone"
        )
    if "soup" in matrix.strategies and "llm" in matrix.models and num_seeds < 2 and not matrix.soup_shards:
        raise UserError(
            "`matrix.strategies`: `soup` takes several adapters of each group; name two seeds or more in "
            "`matrix.seeds`, or set `matrix.soup_shards`"
        )
    if "llm" not in matrix.models and "single" not in matrix.strategies:
        raise UserError("`matrix.strategies`: conventional models know `single` only; name it, or add the model `llm`")
    if not matrix.models or not matrix.strategies:
        raise UserError("`matrix.models` and `matrix.strategies` name nothing to compare")


def _plan_base(matrix: MatrixSection, units: Sequence[Unit], seed: int) -> Iterator[Run]:
    """Yield the runs of the base as it is; a name tells only what is not the first of its list, so that lists grow."""
    if "zero-shot" in matrix.strategies:
        yield _build("zero-shot", units, UNTRAINED, seed, ANSWER, name="llm.zero-shot", answers_as="base")
    if "few-shot" not in matrix.strategies:
        return
    size = max(find_rung(unit, max(matrix.sizes), matrix.sizes) for unit in units)
    choices: Sequence[ExampleChoice | None] = matrix.example_choices or (None,)
    for choice, number in product(choices, matrix.num_examples):
        own = [f"k{number}"] if number != matrix.num_examples[0] else []
        own += [choice] if choice and choice != choices[0] else []
        yield _build(
            "few-shot",
            units,
            size,
            seed,
            ANSWER,
            name=".".join(["llm", "few-shot", *own]),
            answers_as="base",
            num_examples=number,
            choice=choice,
        )


def _plan_tuned(matrix: MatrixSection, units: Sequence[Unit], seed: int) -> Iterator[Run]:
    """Yield the runs of the tuned LLM for one seed; merges come behind the adapters that they take."""
    wanted, sizes = matrix.strategies, sorted(matrix.sizes)
    rungs = sorted({rung for unit in units for rung in list_rungs(unit, sizes)})
    if "single" in wanted:
        for unit in units:
            for size in list_rungs(unit, sizes):
                yield _build("single", [unit], size, seed, TRAIN_AND_ANSWER, {"train": {"task_weights": {}}})
    if "mixed" in wanted:
        for size in rungs:
            yield _build("mixed", units, size, seed, TRAIN_AND_ANSWER)
    combined = [
        _plan_combined(strategy, units, size, seed, sizes)
        for strategy in COMBINED
        for size in (rungs if strategy in wanted else ())
    ]
    yield from combined
    if "distilled" in wanted:
        teachers = [run for run in combined if run.strategy == "switched"]
        yield from (_plan_distilled(units, teacher.size, seed, teacher) for teacher in teachers)
    if "wise-ft" in wanted:
        share = {"merge": {"wise_ft": matrix.wise_ft}}
        for unit in units:
            for size in list_rungs(unit, sizes):
                taken = (_name("single", [unit], size, seed),)
                yield _build("wise-ft", [unit], size, seed, MERGE_AND_ANSWER, share, taken)


def _plan_combined(strategy: MatrixStrategy, units: Sequence[Unit], size: int, seed: int, sizes: Sequence[int]) -> Run:
    taken = tuple(_name("single", [unit], find_rung(unit, size, sizes), seed) for unit in units)
    return _build(strategy, units, size, seed, MERGE_AND_ANSWER, COMBINED[strategy], taken)


def _plan_distilled(units: Sequence[Unit], size: int, seed: int, teacher: Run) -> Run:
    run = _build("distilled", units, size, seed, TRAIN_AND_ANSWER)
    return replace(run, starts_from=_name("mixed", units, size, seed), taught_by=teacher)


def _plan_soups(matrix: MatrixSection, units: Sequence[Unit], seeds: Sequence[int]) -> Iterator[Run]:
    """Yield the means of adapters of one group; of shards also what trains them, each on its part of a size's rows."""
    mean = {"merge": {"method": "cat", "weights": (), "wise_ft": matrix.wise_ft}}
    for unit in units:
        for size in list_rungs(unit, matrix.sizes):
            if not matrix.soup_shards:
                taken = tuple(_name("single", [unit], size, seed) for seed in seeds)
                yield _build("soup", [unit], size, seeds[0], MERGE_AND_ANSWER, mean, taken)
                continue
            for seed in seeds:
                shards = list(_plan_shards(unit, size, seed, matrix.soup_shards))
                yield from shards
                taken = tuple(shard.name for shard in shards)
                yield _build("soup", [unit], size, seed, MERGE_AND_ANSWER, mean, taken)


def _plan_shards(unit: Unit, size: int, seed: int, num_shards: int) -> Iterator[Run]:
    for place in range(1, num_shards + 1):
        settings: Settings = {
            "data": {"max_train_rows": -(-size // num_shards)},
            "train": {"task_weights": {}, "shard": (place, num_shards)},
        }
        run = _build("soup", [unit], size, seed, TRAIN, settings)
        yield replace(run, name=f"{run.name}.{place}of{num_shards}")


def _build(
    strategy: MatrixStrategy,
    units: Sequence[Unit],
    size: int,
    seed: int,
    commands: tuple[Command, ...],
    settings: Settings = NO_SETTINGS,
    adapters_of: tuple[str, ...] = (),
    *,
    model: MatrixModel = "llm",
    name: str = "",
    answers_as: str = "merged",
    num_examples: int = 0,
    choice: ExampleChoice | None = None,
) -> Run:
    shots = {"num_examples": num_examples, **({"choice": choice} if choice else {})}
    return Run(
        name=name or _name(strategy, units, size, seed, model),
        model=model,
        strategy=strategy,
        size=size,
        seed=seed,
        units=tuple(units),
        commands=commands,
        settings={"data": {"max_train_rows": size or None}, "few_shot": shots, **settings},
        answers_as=answers_as,
        adapters_of=adapters_of,
        num_examples=num_examples,
        choice=choice,
    )


def _plan_conventional(matrix: MatrixSection, model: MatrixModel, unit: Unit, size: int, seed: int) -> Run:
    source = {"source": matrix.sources[model]} if model in matrix.sources else {}
    settings = {"conventional": {"architecture": model, **source}}
    return _build("single", [unit], size, seed, TRAIN_ENCODER, settings, model=model, answers_as="conventional")


def _name(strategy: str, units: Sequence[Unit], size: int, seed: int, model: str = "llm") -> str:
    own = [units[0].name.replace("/", ".")] if strategy in ("single", "wise-ft", "soup") else []
    return ".".join([model, strategy, *own, str(size), f"seed{seed}"])

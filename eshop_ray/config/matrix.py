"""The section of the matrix: which models are trained in which ways, on how many rows, for every task."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from eshop_ray.config.base import PositiveInt, Section, Share
from eshop_ray.config.few_shot import MAX_EXAMPLES, ExampleChoice

MatrixModel = Literal["llm", "encoder", "seq2seq"]
MatrixStrategy = Literal[
    "zero-shot", "few-shot", "single", "mixed", "merged", "switched", "distilled", "wise-ft", "soup"
]


class MatrixSection(Section):
    """What `run_experiments` compares: every model, strategy and training size, on every group of `data.tasks`.

    Each cell is a run of its own under `cells/`, made by the jobs that a shop runs, with the settings of this config.
    """

    models: tuple[MatrixModel, ...] = ("llm", "encoder")
    """`llm`: the base model of `model.source`; `encoder` and `seq2seq`: conventional models, one per group, trained by
    the section `conventional`. They know the strategy `single` only."""
    strategies: tuple[MatrixStrategy, ...] = (
        *("zero-shot", "few-shot", "single", "mixed", "merged", "switched", "distilled", "wise-ft"),
    )
    """`zero-shot` and `few-shot`: the base as it is, without and with examples in the prompt; `single`: an adapter for
    each group; `mixed`: one adapter on the rows of all; `merged`: those of `single` combined as the section `merge`
    says; `switched`: one model that keeps those of `single` apart; `distilled`: `mixed` trained further, on the same
    rows, by what `switched` says of them; `wise-ft`: each of `single`, with a share of its update only; `soup`:
    the mean of several adapters of a group, with that share."""
    sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (500, 2000, 8000)
    """Rows of each group that are learned from. Those of a smaller size are among those of a larger one; `few-shot`
    chooses its examples from those of the largest."""
    seeds: tuple[int, ...] = ()
    """A cell is trained once for each seed, which draws its rows too; empty takes `seed`."""
    num_examples: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_EXAMPLES)], ...], Field(min_length=1)] = (4,)
    """Examples in a prompt of `few-shot`: a number, or several, e.g. `[4, 1, 2, 8]`, each with a cell of its own. What
    stands behind the first adds cells and leaves those that are complete as they are."""
    example_choices: tuple[ExampleChoice, ...] = ()
    """How they are chosen, as in `few_shot.choice`; each way has cells of its own, as with `num_examples`. Empty takes
    `few_shot.choice`."""
    wise_ft: Annotated[Share, Field(gt=0, lt=1)] = 0.5
    """Share of the update that `wise-ft` and `soup` add to the base."""
    soup_shards: Annotated[int, Field(ge=2)] | None = None
    """Adapters of a `soup`, each trained on its part of a size's rows; None takes those of `single`, one for each of
    `seeds`."""
    sources: dict[Literal["encoder", "seq2seq"], str] = {}
    """Model -> its `conventional.source`; others have the section's own."""
    price_per_hour: Annotated[float, Field(gt=0)] | None = None
    """Price of one hour of an engine, any currency; it gives each cell a price per million products."""
    max_parallel: PositiveInt | None = None
    """Cells at one time; None works on as many as the cluster has room for."""

    @field_validator("num_examples", mode="before")
    @classmethod
    def _list_numbers(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("models", "strategies", "sizes", "seeds", "num_examples", "example_choices")
    @classmethod
    def _check_distinct(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) < len(values):
            raise ValueError("something stands there twice")
        return values

"""The section of a config that says which ShopBench questions are asked, and how their prompts are written."""

from typing import Annotated

from pydantic import Field, model_validator

from eshop_ray.config.base import PositiveInt, Section

Track = Annotated[int, Field(ge=1, le=4)]
StrategyName = Annotated[str, Field(pattern=r"^[\w-]+$")]
"""A folder of the run directory is called so."""


class PromptExample(Section):
    """A question with its answer, as an example for others of its type."""

    prompt: str = Field(min_length=1)
    """The complete question."""
    answer: str = Field(min_length=1)
    """As the model is to write it."""


class PromptStrategy(Section):
    """How questions are put to the model; with nothing set, under the instruction of the question's task alone."""

    system_prefix: str = ""
    """Stands before the instruction of the task, e.g. `You know products well.`"""
    examples: tuple[PromptExample, ...] = ()
    """Shown before questions of their type, as earlier turns. Their type is inferred as a question's is."""
    examples_path: str | None = None
    """File of ShopBench's format with answers, relative to `data.root`: examples are drawn from it by `seed`. Questions
    that are asked are never taken."""
    num_examples: int = Field(default=0, ge=0)
    """Examples of each type that are drawn from `examples_path`."""
    format_reminder: bool = False
    """Ends each question with a sentence that says in which form the answer is read."""
    chain_of_thought: bool = False
    """Has the model work out arithmetic questions first, and asks for the option afterwards."""
    max_thought_tokens: PositiveInt = 192
    """Most tokens of such a thought."""
    constrained: bool = True
    """Holds decoding to the output that the task of the inferred type declares, where it has one."""

    @model_validator(mode="after")
    def _check_examples(self) -> "PromptStrategy":
        if (self.examples_path is None) != (self.num_examples == 0):
            raise ValueError("`examples_path` and `num_examples` go together: a file, and how many to draw from it")
        return self


class ShopbenchSection(Section):
    """The harness of ShopBench: the last model of `infer.models` answers the questions in every strategy."""

    path: str | None = None
    """File or pattern of ShopBench's format, relative to `data.root`. `infer.max_rows` takes only so many questions per
    task, always the same ones."""
    strategies: dict[StrategyName, PromptStrategy] = {}
    """Name -> how prompts are written. The others are compared with the first. Empty: the plain one under the name
    `plain`, unless a submission is run."""
    submission: str | None = None
    """Folder of a KDD Cup submission, which answers too, in a process of its own: `models/user_config.py` or
    `user_config.py` in it names `UserModel`. It may take `infer.timeout_seconds` for one batch."""
    submission_python: str | None = None
    """Interpreter that runs the submission; None: this one."""
    tracks: dict[str, Track] = {}
    """Task -> track, for files that have no column `track`."""
    batch_size: Annotated[int, Field(ge=1, le=16)] = 16
    """Questions per call to the model, as the competition has it. Submissions choose theirs themselves."""

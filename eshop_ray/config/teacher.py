"""The section of rows that a model writes, from rows that the sources have given."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eshop_ray.config.base import PositiveInt, Section

Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
MAX_SCORE = 5


class JudgeSection(Section):
    """How the teacher judges each row that it has made, once all else is well with it."""

    instruction: str = (
        "You check questions for a shop's assistant to learn from. A good one can be answered from what it says, its "
        "answer is right and complete, and it reads as a shop or a shopper writes. Rate it from 1 (useless) to 5 "
        "(excellent). Give the number and nothing else."
    )
    """The judge's instruction. It has to ask for a number from 1 to 5."""
    min_score: Annotated[int, Field(ge=1, le=MAX_SCORE)] = 4
    """Rows of a lower one are left out."""


class TeacherSection(Section):
    """A model that makes more rows: new questions, reasoning to known answers, translations.

    Its requests go by the sections `infer` and `openai`; what it has answered is kept and not asked again.
    """

    engine: Literal["vllm", "openai"] = "vllm"
    """`vllm` in the pipeline, or the endpoint of the section `openai`."""
    model: Annotated[str, Field(min_length=1)] | None = None
    """As `model.source` for `vllm`, as `openai.model` for an endpoint, which also stand for null."""
    written: dict[str, PositiveInt] = {}
    """Sub-task -> new questions with their answers, at most. The teacher is shown some rows and writes another."""
    reasoned: dict[str, PositiveInt] = {}
    """Sub-task -> rows with a chain of thought, at most. The teacher is asked what rows ask, and its reasoning stays
    where it comes to the answer that is known. Free text can be right in many words, so it takes no such rows."""
    translated: dict[str, PositiveInt] = {}
    """Sub-task -> translations of its English rows, at most, those of all `instructions.teacher.languages` together."""
    languages: tuple[Language, ...] = ()
    """Languages of translations."""
    licences: tuple[str, ...] = ()
    """Licences whose rows the teacher may be shown. Empty: those of all rows that there are."""
    num_seeds: PositiveInt = 200
    """Rows of a sub-task, at most, that new questions are written after."""
    num_shown: Annotated[int, Field(ge=1, le=16)] = 3
    """Rows that the teacher sees for each new question: of one source, so that the new row is under one licence."""
    rounds: PositiveInt = 1
    """Times that questions are written. From the second on, one of the rows that it sees is the teacher's own."""
    tries: Annotated[float, Field(ge=1)] = 2.0
    """Times a quota that is asked for: some answers are no use."""
    temperature: Annotated[float, Field(ge=0)] = 0.8
    """At which it writes and reasons; translations and judgements are taken at 0."""
    max_tokens: PositiveInt = 512
    """Of an answer."""
    min_characters: PositiveInt = 20
    """Of question and answer together; shorter rows are left out."""
    max_characters: PositiveInt = 4_000
    """Of question and answer together; longer rows are left out, and are not shown either."""
    judge: JudgeSection | None = JudgeSection()
    """Null: no row is judged."""

    @model_validator(mode="after")
    def _check_work(self) -> Self:
        if not (self.written or self.reasoned or self.translated):
            raise ValueError("it has nothing to do; give quotas in `written`, `reasoned` or `translated`")
        if self.translated and not self.languages:
            raise ValueError("`translated` needs `languages`")
        if "en" in self.languages:
            raise ValueError("`languages` has `en`, which translations are made from")
        return self

    @property
    def subtasks(self) -> tuple[str, ...]:
        """The sub-tasks that quotas name."""
        return tuple(dict.fromkeys((*self.written, *self.reasoned, *self.translated)))

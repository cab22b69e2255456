"""The recipe of EshopInstruct: sub-tasks, what they are made of, how many rows of each, under which licences."""

from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from eshop_ray.config.base import PositiveInt, Section, Share
from eshop_ray.config.cleaning import NearDuplicatesSection, TextCleaningSection
from eshop_ray.config.teacher import Language, TeacherSection

InstructionFormat = Literal[
    "amasum",
    "amazon_m2",
    "attribute_values",
    "ec_guide",
    "ecinstruct",
    "epqa",
    "esci",
    "hetpqa",
    "product_matching",
    "products",
    "queryner",
    "review_summaries",
    "reviews",
    "semipqa",
    "shopbench",
    "shopify_taxonomy",
]


class InstructionSource(Section):
    """Files of one format under one licence, from which sub-tasks are made."""

    format: InstructionFormat
    """Which reader of `eshop_ray.data.instructions.sources` understands the files."""
    path: str
    """File or glob pattern, relative to `data.root`; folders and object stores work as for `data.sources`."""
    licence: Annotated[str, Field(min_length=1)]
    """Under which its rows may be used, e.g. `Apache-2.0`. Every row carries it."""
    language: Language = "en"
    """Of its texts, where the format does not tell."""
    options: dict[str, Any] = {}
    """Passed to the reader verbatim."""


class SubtaskSection(Section):
    """One entry of the recipe: a sub-task, and what it is made of."""

    name: str
    """The sub-task, e.g. `title_generation`."""
    source: str | tuple[str, ...]
    """Name in `instructions.sources`, or several of them."""
    quota: PositiveInt | None = None
    """Rows to learn from, or of the split that it names, at most. None: by `weight`, or `max_eval_rows`."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Share, beside the other entries without a quota that are learned from, of what `instructions.num_rows` leaves."""
    split: str | None = None
    """Split of all of its rows, such as `held_out` for a sub-task that is never learned. They are made of material of
    the evaluation's side. None: the side is drawn for each product and query."""
    languages: tuple[Language, ...] = ()
    """Languages to ask in. Empty: that of the material, all of them where it comes in several. A text to write is asked
    for in its own language only. What has no wording in a language that fits is left out, and counted."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of its sources."""
        return (self.source,) if isinstance(self.source, str) else self.source


class EvaluationSource(Section):
    """Files whose questions must not be learned from."""

    format: InstructionFormat
    """As for `instructions.sources`."""
    path: str
    """As for `instructions.sources`."""
    options: dict[str, Any] = {}
    """As for `instructions.sources`."""


class InstructionsSection(Section):
    """What `build_instructions` makes: instruction rows for many sub-tasks, from whatever a shop has."""

    sources: dict[str, InstructionSource] = {}
    """Name -> files."""
    subtasks: tuple[SubtaskSection, ...] = ()
    """What to make of them."""
    num_rows: PositiveInt | None = None
    """Rows to learn from that entries without a quota share by weight; None: they take all that there is."""
    licences: tuple[str, ...] = ()
    """Licences that rows may be under; sources of another are not read, and named in the card. Empty: any that a source
    names."""
    eval_share: Share = 0.1
    """Share of products and queries, always the same ones, on which nothing is learned. Their rows are the splits `dev`
    and, asked in the held-out wording of their sub-task, `unseen`."""
    max_eval_rows: PositiveInt | None = 100
    """Rows of each sub-task in `dev`, in `unseen` and in a split that an entry without a quota names."""
    max_passed_on_share: Share = 0.4
    """Share of rows that come from sets which are instruction rows already."""
    text_cleaning: TextCleaningSection | None = TextCleaningSection()
    """How texts of sources are cleaned. Personal data is masked in what customers wrote and in rows that are passed on;
    what customers wrote is left out where it is not worth keeping. None: all texts stay as they are."""
    near_duplicates: NearDuplicatesSection | None = NearDuplicatesSection()
    """Which questions of a sub-task, with their answers, are too much alike to be asked twice. None: only questions in
    the same words are."""
    decontaminate: tuple[EvaluationSource, ...] = ()
    """Evaluation sets: rows that name a product or query of theirs, have one of their texts, or share a rare run of
    words with one, are left out."""
    teacher: TeacherSection | None = None
    """A model that makes more rows after those that the sources give. None: there is none."""

    @model_validator(mode="after")
    def _check_entries(self) -> Self:
        splits = {None: ("train", "dev", "unseen"), "dev": ("dev", "unseen")}
        counts = Counter(
            (entry.name, split) for entry in self.subtasks for split in splits.get(entry.split, (entry.split,))
        )
        twice = [name for (name, _), number in counts.items() if number > 1]
        if twice:
            raise ValueError(f"sub-task `{twice[0]}` stands there twice; name both sources in one entry")
        return self

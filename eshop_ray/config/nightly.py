"""The sections of the nightly enrichment."""

from typing import Annotated, Literal

from pydantic import Field

from eshop_ray.config.base import PositiveInt, Section, Share
from eshop_ray.config.files import CatalogOptions, FileOptions


class CatalogSection(CatalogOptions):
    """The catalogue that `enrich_catalog` keeps enriched."""

    path: str | None = None
    """Its files: a folder, or a pattern as in `data.sources`, relative to `data.root`."""
    labels: tuple[str, ...] | str = ()
    """Categories to choose from, at most 200, or a file that lists them, relative to `data.root`: a `.txt` with one a
    line, or rows with a column `label`, `category`, `path` or `name`. They stand in the prompt of every product, so a
    person has to have looked through them: where a task chooses from labels and there are none, the night writes a list
    of what the catalogue names for you to go through, and ends."""


class ReviewsSection(FileOptions):
    """The reviews that are summarised per product."""

    path: str | None = None
    """Their files, in any format that a catalogue may have; None: no product has reviews."""
    columns: dict[str, str] = {}
    """The file's own names of `parent_asin` (the product's id), `title`, `text`, `helpful_vote`, `user_id`. By
    `user_id`, of which the table keeps a keyed digest, `eshop erase --review-user` finds what it has to remove."""
    max_tokens: PositiveInt = 1024
    """Tokens of reviews in one prompt; the most helpful come first."""


class TableSection(Section):
    """The enriched Delta table, one row per product and task."""

    uri: str | None = None
    """Folder, `s3://`, `gs://` or `az://`; None: `enriched` in the run directory. The quarantine's table stands beside
    it, as `..._quarantine`."""
    rows_per_file: PositiveInt = 512
    """Rows that are answered, written and committed together: what a kill can cost, per engine."""
    commit_files: PositiveInt = 16
    """Finished files that trigger a commit."""
    commit_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which finished files are committed, however few."""
    retention_hours: Annotated[float, Field(ge=0)] = 168.0
    """Files that no version of the last hours needs are deleted at the end of a run."""


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""What may stand in the table's column `task`, and so in the name of a folder."""

Text = Annotated[str, Field(min_length=1)]


class QuestionSection(Section):
    """A task as the shop asks it."""

    task: str | None = None
    """Which task; None: the one of the question's own name."""
    instruction: Text | None = None
    """What the prompt says first, instead of the task's own words."""
    language: str | None = None
    """Language of the answers, in words, e.g. `German`: the instruction then says so."""
    fields: tuple[Text, ...] = ()
    """Columns of the catalogue that are read instead of the task's own, in this order, e.g. `[name, brand]`."""
    labels: tuple[str, ...] | str = ()
    """Labels to choose from, or the file that lists them; empty: `catalog.labels`."""
    attributes: dict[
        Text, Annotated[dict[Text, Annotated[tuple[Text, ...], Field(min_length=1)] | None], Field(min_length=1)]
    ] = {}
    """For the task `attributes`: category -> attribute -> the values that it may have, null for any text. `*` is for
    all categories that are not named; without it their products are not asked."""
    max_tokens: PositiveInt | None = None
    """Upper limit of generated tokens; None: the task's own."""


class EnrichSection(Section):
    """Nightly enrichment."""

    tasks: tuple[str, ...] = ("ner_tagging", "summarization", "classification")
    """What is asked about every product: any task that says what it reads of a product, or a name of `questions`. By
    default the attributes in its name, what its reviews say, its category."""
    questions: dict[Name, QuestionSection] = {}
    """Tasks in the shop's own words, by names of its own, which `enrich.tasks` and the table's column `task` then have.
    One task may be asked in several ways."""
    model: Literal["base", "merged", "quantized", "conventional"] = "merged"
    """Which model answers."""
    dry_run: bool = False
    """Say what the night would ask and cost, task by task, and do nothing."""
    max_quarantined_share: Share = 0.1
    """Share of quarantined rows above which the run fails, after committing the good ones."""
    max_deleted_share: Share = 0.2
    """Share of a task's products that may have left the catalogue since the last night. With more, the run ends before
    it changes anything: the export may be cut. 1 lets everything through."""
    max_changed_share: Share = 0.5
    """Share of a task's products whose question may be another than last night, the model being the same. With more,
    the run ends before it changes anything: a column may have another name, or the reviews may be missing. 1 lets
    everything through."""
    canary_rows: Annotated[int, Field(ge=0)] = 128
    """Questions of the night, spread over its tasks, whose answers are compared with the table's rows before anything
    is committed; 0: none are. They are drawn by a hash from all questions, answered first, and kept."""
    canary_max_failed_share: Share = 0.1
    """Share of a task's canary that may fail or be unreadable, above the share of the table's rows that is in
    quarantine. With more, beyond what chance explains, the night ends before it changes anything. 1 lets everything
    through."""
    canary_max_label_shift: Share = 0.4
    """Share of a task's canary that may have moved to other labels, as total variation distance to the table's rows.
    With more, beyond what chance explains, the night ends before it changes anything: the model may say one thing of
    everything, or only one kind of products came. 1 lets everything through."""
    canary_max_length_ratio: Annotated[float, Field(ge=1)] = 2.0
    """Times that the median of a task's generated tokens may be more or less than that of the table's rows. With more,
    beyond what chance explains, the night ends before it changes anything."""
    gpu_hour_price: Annotated[float, Field(ge=0)] | None = None
    """Price of one engine hour, any currency: adds a line of cost to the report."""
    max_generated_tokens: PositiveInt | None = None
    """Tokens of answers after which a night stops, exit status 3. What was answered is committed; the next night goes
    on. Answers on their way are let go, so that a little more is spent."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """Cost of the engines, at `gpu_hour_price`, after which a night stops likewise."""

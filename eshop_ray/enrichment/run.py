"""One night over one catalogue: its inputs, its tables, its staging, and what has been counted."""

import math
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, Self

from eshop_ray.config import Config
from eshop_ray.data import files
from eshop_ray.data.formats.reader import PACKED_ENDINGS
from eshop_ray.enrichment.budget import Budget
from eshop_ray.enrichment.canary import Canary
from eshop_ray.enrichment.commits import Committer
from eshop_ray.enrichment.merge import Merge
from eshop_ray.enrichment.result_writer import ResultWriter
from eshop_ray.enrichment.staging import open_staging
from eshop_ray.enrichment.table import Snapshot, Table, Writer
from eshop_ray.enrichment.tables import enriched_table, quarantine_table
from eshop_ray.enrichment.templates import build_templates, list_columns
from eshop_ray.errors import UserError
from eshop_ray.inference.engines.oracle import refuse_oracle
from eshop_ray.models import Model
from eshop_ray.tasks import Task

BUCKET_BYTES = 6 << 20
"""Bytes of input per bucket: what a task holds, some times over, by columns."""
MAX_BUCKETS = 4096
MAX_GROWTH = 4
"""Times that a bucket may grow before the tables are divided anew."""
PACKED_FACTOR = 5
"""What compressed files grow by when they are read."""


class Night:
    """What a night is planned from; nothing is written but into its staging."""

    def __init__(self, config: Config, model: Model, replay: bool) -> None:
        """Look at the inputs and the tables.

        Args:
            config: `catalog`, `reviews`, `table`, `enrich` and `infer`.
            model: The model that answers.
            replay: Also ask again about what stands in quarantine.

        Raises:
            UserError: if an input is missing, the engine makes no sense here, or a table cannot be read or written.
        """
        refuse_oracle(config.infer, "a catalogue")
        Budget.from_config(config.enrich, config.infer.concurrency)  # refuses a limit that cannot be counted
        self.templates = build_templates(config)  # refuses what cannot be asked, before a table is touched
        self.config = config
        self.model = model
        self.replay = replay
        self.shared_model = model.share(config.run_dir) if model.folder else None
        """The model's folder, for any node."""
        self.started_at = datetime.now(UTC)
        self.run_id = name_run()
        self.catalog = list_inputs(config, config.catalog.path, "catalog.path")
        self.reviews = list_inputs(config, config.reviews.path, "reviews.path") if config.reviews.path else []
        for number, file in enumerate((*self.catalog, *self.reviews)):
            file["number"] = number
        self.enriched = enriched_table(config.table_uri)
        self.quarantine = quarantine_table(config.quarantine_uri)
        self._open_tables()
        self.num_buckets = self._choose_num_buckets()
        self._exit = ExitStack()
        columns = list_columns(self.templates)
        self.staging = self._exit.enter_context(open_staging(config.run_dir, self.run_id, self.num_buckets, columns))
        self.counts: Counter[str] = Counter()
        self.phases: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the staging away, whatever became of the night."""
        self._exit.close()

    @property
    def tasks(self) -> dict[str, Task]:
        """What the names of `enrich.tasks` stand for."""
        return {name: template.task for name, template in self.templates.items()}

    @property
    def snapshots(self) -> tuple[Snapshot, Snapshot]:
        """The enriched table and the quarantine as they are before this night."""
        return self._snapshots

    def _open_tables(self) -> None:
        num_buckets = self._count_buckets()
        self._snapshots = self.enriched.peek(num_buckets), self.quarantine.peek(num_buckets)

    def _choose_num_buckets(self) -> int:
        """Return how both tables are divided tonight."""
        return self.snapshots[0].num_buckets

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Note the seconds of a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.phases[phase] = round(time.monotonic() - started, 2)

    def _count_buckets(self) -> int:
        """Return how many buckets the inputs fill."""
        inputs = (*self.catalog, *self.reviews)
        num_bytes: int = sum(file["size"] * (PACKED_FACTOR if _is_packed(file["path"]) else 1) for file in inputs)
        wanted = max(num_bytes / BUCKET_BYTES, 1)
        return int(min(1 << math.ceil(math.log2(wanted)), MAX_BUCKETS))


class Run(Night):
    """A night that writes, until another one begins."""

    def __init__(self, config: Config, model: Model, replay: bool) -> None:
        """Open a run, which takes both tables over from any run that is still at work.

        Args:
            config: As for `Night`.
            model: As for `Night`.
            replay: As for `Night`.

        Raises:
            UserError: as for `Night`, or if a table cannot be written.
        """
        super().__init__(config, model, replay)
        results, bad = self.staging.exchange("enriched"), self.staging.exchange("bad")
        merge = Merge(self.enriched, self.quarantine, results, bad, self.run_id)
        self.committer = Committer(self.writer, self.bad_writer, merge, config.table)
        self.result_writer = ResultWriter(results, bad, self.run_id, model.digest, self.tasks)
        self.canary: Canary | None = None
        """What the night's first answers are judged by; None: it asks nothing, or has no canary."""
        self.stopped: str | None = None
        """Which limit of the budget ended the night early."""
        self.spending: dict[str, Any] | None = None
        """What an endpoint was asked, and what that cost; None: no endpoint was."""

    @property
    def snapshots(self) -> tuple[Snapshot, Snapshot]:
        """Both tables as they were when the run began, or when they had been made ready for it."""
        return self.writer.snapshot, self.bad_writer.snapshot

    @property
    def tables(self) -> tuple[tuple[Table, Writer], ...]:
        """The enriched table and the quarantine, each with its writer."""
        return (self.enriched, self.writer), (self.quarantine, self.bad_writer)

    def _open_tables(self) -> None:
        for table in (self.enriched, self.quarantine):
            table.create(self._count_buckets(), self.config.table.retention_hours)
        self.writer = Writer(self.enriched, self.run_id)
        self.bad_writer = Writer(self.quarantine, self.run_id)

    def _choose_num_buckets(self) -> int:
        """Return how both tables are divided tonight: as they are, unless the shop has outgrown that."""
        current = max(snapshot.num_buckets for snapshot in self.snapshots)
        wanted = self._count_buckets()
        return wanted if wanted >= MAX_GROWTH * current else current


def name_run(kind: str = "") -> str:
    """Return a name for a run that begins now, which no other has."""
    prefix = f"{kind}-" if kind else ""
    return f"{prefix}{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def list_inputs(config: Config, pattern: str | None, key: str) -> list[dict[str, Any]]:
    """Return `number`, `path`, `size` in bytes and `state` of the files that a pattern matches.

    Raises:
        UserError: if there is no pattern, or it matches nothing.
    """
    if not pattern:
        raise UserError(f"`{key}` is not set; name the files, e.g. {key}=shop/products.jsonl")
    listed = []
    for number, file in enumerate(files.list_files(config.data.root, pattern)):
        size, changed = files.state_of(file.path)
        listed.append({"number": number, "path": file.path, "size": size, "state": changed})
    return listed


def _is_packed(path: str) -> bool:
    return path.partition("?")[0].endswith((*PACKED_ENDINGS, ".parquet"))

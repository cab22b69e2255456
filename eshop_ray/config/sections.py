"""The sections of a config and their defaults; the docstring under a field is its documentation."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from eshop_ray.config.autotune import AutotuneSection
from eshop_ray.config.base import PositiveInt, Section, Share
from eshop_ray.config.experiment import ExperimentSection, MergeSection, SearchSection
from eshop_ray.config.few_shot import FewShotSection
from eshop_ray.config.index import IndexSection
from eshop_ray.config.instructions import InstructionsSection
from eshop_ray.config.matrix import MatrixSection
from eshop_ray.config.nightly import CatalogSection, EnrichSection, ReviewsSection, TableSection
from eshop_ray.config.openai import OpenaiSection
from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.config.serving import ServeSection
from eshop_ray.config.shopbench import ShopbenchSection
from eshop_ray.config.training import ConventionalSection, LoraSection, TrackingSection, TrainSection
from eshop_ray.places import is_uri, local_path, place_of


class SourceSection(Section):
    """One group of files in one public format."""

    format: Literal["queryner", "shopbench", "esci", "catalog", "reviews", "instructions"]
    """Which reader of `eshop_ray.data.sources` understands the files."""
    path: str
    """File or glob pattern; relative to `data.root`. `s3://` and `gs://` work. `{split}` stands for any split
    name: `{split}.conll` takes every such file, and the part that it matched becomes the row's split."""
    split: str | None = None
    """Split of all rows; None: taken from `{split}` in the path, else divided by `data.eval_share`."""
    options: dict[str, Any] = {}
    """Passed to the reader verbatim, e.g. `columns: {name: title}` for a catalogue."""


class DataSection(Section):
    """Where records come from and how they are checked and divided."""

    root: str = "."
    """Folder or URI that source paths are relative to."""
    sources: tuple[SourceSection, ...] = ()
    """What to read; rows of all sources are put together per task."""
    tasks: tuple[str, ...] = ()
    """Tasks to keep, in report order; empty keeps every task that the sources yield."""
    groups: tuple[str, ...] = ()
    """Groups of their records that are learned from and asked about; empty takes all. A group is what a score is given
    for: `esci_pairs` and `product_category` are two of `classification`. Rows without one have the task's name."""
    max_train_rows: PositiveInt | None = None
    """Learn from only this many rows of each group of a task. They are drawn by `seed`, and those of a smaller number
    are among those of a larger one."""
    eval_share: Share = 0.1
    """Share of the rows without a split of their own that go to `evaluate.split`, always the same ones."""
    validation_share: Share = 0.0
    """Share of the training rows that become the split `validation`, by which `search_merge` chooses."""
    split_by: dict[str, str] = {}
    """Task or group -> field of its records, e.g. `{esci_pairs: query}`: rows with one value of it fall into the same
    split. Rows whose source names their split stay there."""
    max_malformed_share: Share = 0.01
    """Share of malformed rows above which preparation stops."""
    records_dir: str | None = None
    """Folder or URI of prepared records; None: `records/` of the run directory."""
    num_products: PositiveInt = 300
    """Size of the sample shop that `jobs.make_sample_shop` writes under `data.root`."""


class ModelSection(Section):
    """The base model."""

    source: str = "smollm2-135m-instruct"
    """`smollm2-135m-instruct` (from its PyPI wheel), a local folder, `s3://`, `gs://` or `az://`, or a model hub's
    id."""
    template_options: dict[str, JsonValue] = {}
    """Options of the chat template, e.g. `{enable_thinking: false}`: any name that it reads. They hold in training and
    wherever the model is asked, and the merged model takes them along."""
    cache_dir: str = "~/.cache/eshop_ray"
    """Where fetched models are kept, and models whose chat template has options in it. On a cluster whose nodes share a
    disk, a folder of that."""
    merged_dir: str | None = None
    """Folder or URI of the merged model; None: `merged/` of the run directory."""


CONVENTIONAL_ENGINES = ("encoder", "seq2seq")
"""Engines that answer for the model `conventional`."""
ENGINE_MODELS = {"openai": ("base",), **dict.fromkeys(CONVENTIONAL_ENGINES, ("conventional",))}
"""What `infer.models` is by default where an engine does not answer for several models."""


class InferSection(Section):
    """Bulk inference on Ray Data."""

    engine: Literal["vllm", "serve", "openai", "oracle", "simulated", "encoder", "seq2seq"] = "vllm"
    """`vllm` in the pipeline; `serve`, the shared Ray Serve deployment; `openai`, the endpoint of the section of that
    name; `oracle`, which answers with the gold target: every metric must then be 1.0; `simulated`, which makes answers
    up, for tests of all that is not the model; `encoder` and `seq2seq`, Transformers, for the model `conventional`,
    which no other engine answers for."""
    models: tuple[Literal["base", "merged", "quantized", "conventional"], ...] = ("base", "merged")
    """Which models answer, `quantized` being what `quantize` made, `conventional` what `train_encoder` made. The base's
    files stand under `base/` in the run directory, those of the quantized and of the conventional model under
    `quantized_answers/` and `conventional_answers/`. With `engine: encoder` or `seq2seq`, `[conventional]` unless
    given. An endpoint is one model: with the engine `openai` one name stands here, `base` unless you choose another,
    and says where its answers stand."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token."""
    constrained: bool = True
    """Hold decoding to the task's declared output where it has one."""
    confidence: bool = False
    """Have each answer say how sure the model was: column `confidence` of predictions and of the nightly table, the
    geometric mean of the probabilities of the answer's tokens, before any constraint. Rows that were answered without
    it keep null. Of `vllm`, `serve`, and of endpoints that know `logprobs`."""
    batch_size: PositiveInt = 64
    """Rows per call to an engine."""
    concurrency: PositiveInt = 1
    """Engine actors; best a multiple of four, which share one actor that asks them."""
    max_concurrent_batches: PositiveInt | None = None
    """Calls that an engine has in hand at a time; None: as many as fill it three times over."""
    use_gpu: bool = False
    """One GPU per engine actor; otherwise the CPU build of vLLM."""
    cpu_kvcache_gib: PositiveInt = 2
    """KV cache of a CPU engine, GiB."""
    cpu_threads: PositiveInt | None = None
    """Threads of a CPU engine; None: one per core."""
    compile: bool | None = None
    """Compile a CPU engine: faster rows, a slower start. None: where the rows are enough to pay for it."""
    engine_kwargs: dict[str, Any] = {}
    """Passed to vLLM's engine verbatim."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 600.0
    """An engine that leaves a call unanswered for so long, and writes nothing meanwhile, counts as dead and is started
    anew."""
    max_retries: int = Field(default=5, ge=0)
    """Tries, with growing pauses, after trouble that passes (a dead engine, a time-out, HTTP 429 or 5xx)."""
    max_failed_share: Share = 0.5
    """`batch_infer`, or a build that asks a teacher, ends as failed if more of the rows than this have no answer; what
    was answered is kept."""
    retry_failed: bool = False
    """Have `batch_infer` ask the failed rows of complete predictions again."""
    max_rows: PositiveInt | None = None
    """Take only this many rows of each group of a task, always the same ones."""

    @model_validator(mode="before")
    @classmethod
    def _choose_models(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("engine") in ENGINE_MODELS:
            return {"models": ENGINE_MODELS[values["engine"]], **values}
        return values

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        others = [name for name in self.models if name != "conventional"]
        if self.engine in CONVENTIONAL_ENGINES and others:
            raise ValueError(f"the engine `{self.engine}` answers for the model `conventional`, not for `{others[0]}`")
        return self

    @property
    def num_cpus(self) -> int:
        """Logical CPUs that a pipeline holds: its engines', and two for what feeds them and writes."""
        return self.concurrency + 2

    @property
    def gpus_per_engine(self) -> int:
        """GPUs of one engine, by the parallel sizes in `engine_kwargs`."""
        if not self.use_gpu:
            return 0
        sizes = (self.engine_kwargs.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline"))
        return math.prod(map(int, sizes))

    @property
    def num_gpus(self) -> int:
        """GPUs that a pipeline holds."""
        return self.concurrency * self.gpus_per_engine


class EvaluateSection(Section):
    """Scoring."""

    split: str = "dev"
    """The split that `batch_infer` answers and `evaluate` scores."""
    clusters: dict[str, str] = {}
    """Task or group -> field of its records that names what a row belongs to, e.g. `{esci_pairs: query}`. Rows of one
    query, or one product, count as one observation in tests and intervals. Other rows stand by themselves."""
    slices: dict[str, str] = {}
    """Task or group -> field of its records by which `eshop compare` divides its rows, e.g. `{esci_pairs: brand}`.
    Others are divided by their field `category`, where they have one."""


class RaySection(Section):
    """The Ray cluster that jobs run on."""

    address: str | None = None
    """Cluster to join; None joins the one named by `RAY_ADDRESS`, else starts Ray on this machine."""
    num_cpus: PositiveInt | None = None
    """Logical CPUs of a Ray started here; None takes the machine's cores, at least 4. They are bookkeeping:
    more of them than cores is fine."""
    limits: dict[str, float] = {}
    """What the cluster can grow to, e.g. `{CPU: 136, GPU: 8}`; Ray does not tell, and without it what stands now
    counts."""


ANSWERS_OF = {"base": "base", "quantized": "quantized_answers", "conventional": "conventional_answers"}
"""Model -> folder of its answers and scores in the run directory; others have theirs in that itself."""


class Config(Section):
    """Everything that a run depends on."""

    name: str
    """Name of the run directory."""
    run_root: str = "runs"
    """Folder of run directories: `s3://`, `gs://` or `az://`, or a local folder, which on a cluster of several nodes is
    one that all of them mount."""
    seed: int = 0
    """Seed of every random step."""
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    lora: LoraSection = LoraSection()
    train: TrainSection = TrainSection()
    conventional: ConventionalSection = ConventionalSection()
    tracking: TrackingSection = TrackingSection()
    experiment: ExperimentSection = ExperimentSection()
    merge: MergeSection = MergeSection()
    search: SearchSection = SearchSection()
    matrix: MatrixSection = MatrixSection()
    instructions: InstructionsSection = InstructionsSection()
    quantize: QuantizeSection = QuantizeSection()
    infer: InferSection = InferSection()
    few_shot: FewShotSection = FewShotSection()
    openai: OpenaiSection = OpenaiSection()
    autotune: AutotuneSection = AutotuneSection()
    evaluate: EvaluateSection = EvaluateSection()
    shopbench: ShopbenchSection = ShopbenchSection()
    catalog: CatalogSection = CatalogSection()
    reviews: ReviewsSection = ReviewsSection()
    table: TableSection = TableSection()
    enrich: EnrichSection = EnrichSection()
    index: IndexSection = IndexSection()
    serve: ServeSection = ServeSection()
    ray: RaySection = RaySection()

    @property
    def run_dir(self) -> Path:
        """The run directory, absolute: Ray workers run in folders of their own.

        Where `run_root` is in an object store, the copy of it on this machine, in the cache.
        """
        root = local_path(self.run_root)
        return local_path(f"{self.run_root}/{self.name}") if is_uri(self.run_root) else root / self.name

    @property
    def records_dir(self) -> Path:
        """The prepared records, absolute."""
        own = self.data.records_dir
        return local_path(own) if own else self.run_dir / "records"

    def model_run_dir(self, model: str) -> Path:
        """Where a model's answers and scores stand: the tuned model's in the run directory, the others' below it."""
        return self.run_dir / ANSWERS_OF.get(model, ".")

    @property
    def table_uri(self) -> str:
        """The enriched table: a URI, or an absolute local path."""
        return self._resolve(self.table.uri, "enriched")

    @property
    def index_uri(self) -> str:
        """The search index over it: a URI, or an absolute local path."""
        return self._resolve(self.index.uri, "index")

    def _resolve(self, given: str | None, name: str) -> str:
        uri = given or place_of(self.run_dir / name)
        return uri if "://" in uri else str(Path(uri).expanduser().absolute())

    @property
    def quarantine_uri(self) -> str:
        """The quarantine's table, beside the enriched one."""
        return f"{self.table_uri.rstrip('/')}_quarantine"

    def predictions_dir(self, model: str) -> Path:
        """The predictions of `evaluate.split` by one model."""
        return self.model_run_dir(model) / "predictions" / f"split={self.evaluate.split}"

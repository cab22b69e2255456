"""Who teaches: found and checked before anything is loaded, and what it says of a pack."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from eshop_ray.artifacts import fetch, find_manifest
from eshop_ray.config import Config, TrainSection
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.errors import UserError, find_nearest
from eshop_ray.models import fetch_model, load_tokenizer
from eshop_ray.models.switched import find_weights, list_held, name_weights
from eshop_ray.models.switched_weights import list_changed, read_folded
from eshop_ray.places import local_path, place_of, uri_of
from eshop_ray.tasks import get_task
from eshop_ray.training.adapter import check_base
from eshop_ray.training.base_model import find_quantization
from eshop_ray.training.execution import Execution
from eshop_ray.training.loss import score_answers
from eshop_ray.training.merging.adapters import is_adapter
from eshop_ray.training.merging.fold import fold_adapter
from eshop_ray.training.model import halve_layers
from eshop_ray.training.packing.pack import Pack

KEY = "train.teacher"
TOKENS_AT_ONCE = 128
"""Of whose scores, as wide as the vocabulary, copies are held."""


def find_teacher(config: Config) -> Path:
    """Return the folder of `train.teacher`, fetched.

    Raises:
        UserError: if there is none.
    """
    source = str(config.train.teacher)
    folder = local_path(source)
    manifest = find_manifest(folder) if uri_of(folder) else None
    if manifest is not None:
        fetch(folder, manifest)
    if is_adapter(folder):
        return folder
    return fetch_model(
        config.model.model_copy(update={"source": source, "template_options": {}}), for_chat=False, key=KEY
    )


def check_teacher(config: Config, model_dir: Path, asked: Sequence[tuple[str, str]]) -> None:
    """Refuse a teacher whose words would mean something else here, or who was not trained for what is learned.

    Args:
        config: Of the run.
        model_dir: The base.
        asked: Task and group of rows to learn from.

    Raises:
        UserError: naming what does not fit.
    """
    folder, train = find_teacher(config), config.train
    if is_adapter(folder):
        check_base(KEY, folder, model_dir)
    else:
        _check_unquantized(folder)
        _check_vocabulary(folder, model_dir)
        _check_prompts(folder, model_dir, sorted({task for task, _ in asked}))
    num_words = _count_words(model_dir)
    if train.teacher_top_k >= num_words:
        raise UserError(
            f"`train.teacher_top_k` is {train.teacher_top_k}, and the vocabulary has {num_words} words; set "
            "less, so that some are left over"
        )
    held = list_taught(folder)
    missing = [one for one in sorted(set(asked)) if held and find_weights(held, *one) is None]
    if missing:
        names = [task if group == task else name_weights(task, group) for task, group in missing]
        nearest = find_nearest(names[0], held)
        raise UserError(
            f"`{KEY}` {place_of(folder)} was not trained on {', '.join(names)}; nearest is {nearest}, and it has "
            f"{', '.join(held)}. Leave that out of `data.tasks`, or take a teacher that knows it"
        )


def list_taught(folder: Path) -> tuple[str, ...]:
    """Return what a teacher was trained on, as updates are named; empty where it does not say."""
    if not is_adapter(folder):
        return list_held(folder)
    manifest = find_manifest(folder)
    return tuple(manifest.details.get("trained_on", ())) if manifest else ()


def _check_unquantized(folder: Path) -> None:
    method = find_quantization(folder)
    if method:
        raise UserError(
            f"`{KEY}` {place_of(folder)} is kept quantized ({method}), which engines read and training does not; take "
            "the model that it was made of, in `merged/`"
        )


def _check_vocabulary(folder: Path, model_dir: Path) -> None:
    ours, theirs = load_tokenizer(model_dir).get_vocab(), load_tokenizer(folder, for_chat=False).get_vocab()
    sizes = [_count_words(place) for place in (model_dir, folder)]
    if ours != theirs or sizes[0] != sizes[1]:
        raise UserError(
            f"`{KEY}` {place_of(folder)} has another vocabulary ({sizes[1]} words) than `model.source` {model_dir} "
            f"({sizes[0]} words), so its probabilities are of other words; take a teacher of the same family, or learn "
            "from its answers: `train.answers`"
        )


def _check_prompts(folder: Path, model_dir: Path, tasks: Sequence[str]) -> None:
    for name in tasks:
        messages = get_task(name).build_messages(get_task(name).examples[0])
        ours, theirs = (tokenize_prompt(load_tokenizer(place), messages) for place in (model_dir, folder))
        if ours != theirs:
            raise UserError(
                f"`{KEY}` {place_of(folder)} has another chat template than `model.source` {model_dir}, so it would be "
                f"asked otherwise than it was trained ({name}); take a teacher with the base's template and "
                "`model.template_options`"
            )


def _count_words(model_dir: Path) -> int:
    return int(AutoConfig.from_pretrained(model_dir).get_text_config().vocab_size)


@dataclass(slots=True)
class Teacher:
    """A model in memory that says what it would have answered."""

    model: Any
    folder: Path
    execution: Execution
    precision: str
    device: torch.device
    changed: set[str]
    """Names of weights that its updates change; none for one that is the same for all rows."""
    update: str | None = field(default=None)
    """Whose weights it has now; None: those it came with."""

    @classmethod
    def load(cls, folder: Path, model_dir: Path, train: TrainSection, device: torch.device) -> "Teacher":
        """Load it, frozen.

        Args:
            folder: Of `find_teacher`.
            model_dir: The base, for an adapter.
            train: Precision and attention.
            device: Where it computes.
        """
        if is_adapter(folder):
            model = fold_adapter(model_dir, folder)
        else:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model.requires_grad_(False).eval()
        if train.precision == "bf16":
            halve_layers(model)
        model.to(device)
        as_it_is = train.model_copy(update={"method": "full"})
        execution = Execution.prepare(model, as_it_is, device, replaces_head=False)
        held = () if is_adapter(folder) else list_held(folder)
        return cls(model.eval(), folder, execution, train.precision, device, list_changed(folder, held))

    def switch(self, update: str | None) -> None:
        """Take the weights of an update of a switched model."""
        if update == self.update:
            return
        weights = dict(self.model.named_parameters(remove_duplicate=False))
        for name, tensor in read_folded(self.folder, update, self.changed):
            weights[name].copy_(tensor)
        self.update = update

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def ask(self, pack: Pack, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return what it says at the answer tokens of a pack, A in all.

        Args:
            pack: The rows.
            top_k: Words to keep.

        Returns:
            Words (A, K) and natural logarithms of their probabilities and that of all others (A, K + 1), see
            `condense`, and the number of each token's row within the pack (A,). All on the CPU.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            scores, places = score_answers(self.model, pack, self.execution.attention, self.device)
        labels = torch.from_numpy(pack.labels).to(self.device)[places]
        parts = zip(scores.split(TOKENS_AT_ONCE), labels.split(TOKENS_AT_ONCE), strict=True)
        words, logprobs = zip(*(condense(*part, top_k) for part in parts), strict=True)
        rows = torch.from_numpy(pack.segment_ids)[places.cpu()]
        return torch.cat(words).cpu(), torch.cat(logprobs).cpu(), rows


def condense(scores: Tensor, labels: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Return a model's most probable words and how probable they are; the right one is always among them.

    Args:
        scores: (A, V).
        labels: The right words, (A,).
        top_k: K, below V.

    Returns:
        Words (A, K), and logarithms of their probabilities and that of all others, (A, K + 1), fp32.
    """
    wide = scores.float()
    words = wide.topk(top_k, 1).indices
    is_missing = (words != labels[:, None]).all(1)
    words[is_missing, -1] = labels[is_missing]
    rest = wide.scatter(1, words, -torch.inf).logsumexp(1, keepdim=True)
    return words, torch.cat([wide.gather(1, words), rest], 1) - wide.logsumexp(1, keepdim=True)

"""The whole road of an adapter, as a run goes it, from training to the merged model; over small bases of all kinds."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from eshop_ray import artifacts
from eshop_ray.config import LoraSection, MergeSection, TrainSection
from eshop_ray.models import model_digest
from eshop_ray.training.checkpoint import collect_state, load_checkpoint, save_checkpoint
from eshop_ray.training.feed import Microbatches
from eshop_ray.training.history import Progress
from eshop_ray.training.learner import build_learner
from eshop_ray.training.merging.fold import write_merged
from eshop_ray.training.merging.recipe import Recipe
from eshop_ray.training.model import build_model, check_method
from eshop_ray.training.packing.pack import TokenRow, build_pack
from tests.training.small_models import SHAPES

CPU = torch.device("cpu")
RATE = 0.05
SMALL = {
    "vocab_size": 600,
    **SHAPES,
    "initializer_range": 0.1,
    "bos_token_id": None,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
EYES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
BASES = {
    "tied": ("Llama", {**SMALL, "tie_word_embeddings": True}),
    "untied": ("Llama", {**SMALL, "tie_word_embeddings": False}),
    "biased": ("Qwen2", {**SMALL, "tie_word_embeddings": False}),
    "experts": ("Qwen3Moe", {**SMALL, **EXPERTS}),
    "renamed experts": ("Mixtral", {**SMALL, **EXPERTS}),
    "turned": ("GPT2", {"vocab_size": 600, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.1}),
    "with pictures": ("Gemma3", {"text_config": {**SMALL}, "vision_config": EYES, "mm_tokens_per_image": 4}),
}
"""Name -> architecture and config. In files, Mixtral has other names for experts; GPT-2 keeps weights turned."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is at the end of the road."""

    error: float
    """Largest difference of a logit between the merged model and base plus adapter, in fp32."""
    effect: float
    """The same between base and base plus adapter."""
    start: float
    """The same between a run that goes on from the adapter and base plus adapter."""
    differences: list[str]
    """Weights that a run which was cut off has otherwise than one which was not."""
    untouched: list[str]
    """Weights that are to be trained and stay as they are."""
    types: set[torch.dtype]
    """Of trained weights."""
    is_tied: bool
    """Whether the merged model still has one embedding."""


def save_base(name: str, tokenizer_dir: Path, folder: Path) -> Path:
    """Write one of `BASES` with the tokenizer of another model."""
    kind, options = BASES[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**options)
    loader = AutoModelForImageTextToText if "vision_config" in options else AutoModelForCausalLM
    model = loader.from_config(config, dtype=torch.float32)
    for weight_name, weight in model.named_parameters():
        if weight_name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    for path in tokenizer_dir.glob("*.j*"):
        if not (folder / path.name).exists():
            shutil.copy(path, folder)
    if "vision_config" in options:
        (folder / "preprocessor_config.json").write_text("{}")
    return folder


def travel(base: Path, lora: LoraSection, train: TrainSection, folder: Path) -> Arrival:
    """Check, train two steps, checkpoint, train a third with and without a break, merge, start another run."""
    check_method(train, lora, base)
    learner = build_learner(base, train, lora, 1, CPU)
    first = {name: weight.detach().clone() for name, weight in _list_trained(learner.model).items()}
    _learn(learner, 2)
    state = collect_state(learner.model, learner.optimizer)
    save_checkpoint(folder / "broken", learner.model, state, Progress(step=2))
    _learn(learner, 1)
    resumed = build_learner(base, train, lora, 2, CPU)
    load_checkpoint(folder / "broken", resumed.model, resumed.optimizer)
    _learn(resumed, 1)
    state = collect_state(learner.model, learner.optimizer)
    save_checkpoint(folder / "last", learner.model, state, Progress(step=3))
    adapter_dir = folder / "last" / "adapter"
    artifacts.write_manifest(adapter_dir, "adapter", "inputs", {"base": model_digest(base)})
    write_merged(Recipe(base, (adapter_dir,), MergeSection(), 0), folder / "merged")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged", dtype=torch.float32)
    exact = build_model(base, TrainSection(precision="fp32"), lora, 1, CPU)
    exact.load_state_dict(state["model"], strict=False)
    trained, expected = _list_trained(learner.model), _score(exact)
    onward = lora.model_copy(update={"init_from": str(adapter_dir)})
    check_method(train, onward, base)
    next_run = build_model(base, TrainSection(precision="fp32"), onward, 2, CPU)
    return Arrival(
        error=float((_score(merged) - expected).abs().max()),
        effect=float((_score(AutoModelForCausalLM.from_pretrained(base)) - expected).abs().max()),
        start=float((_score(next_run) - expected).abs().max()),
        differences=[
            name for name, weight in _list_trained(resumed.model).items() if not torch.equal(weight, trained[name])
        ],
        untouched=[name for name, weight in trained.items() if torch.equal(weight, first[name])],
        types={weight.dtype for weight in trained.values()},
        is_tied=merged.get_input_embeddings().weight is merged.get_output_embeddings().weight,
    )


def _learn(learner, num_steps):
    for _ in range(num_steps):
        torch.manual_seed(9)
        learner.step(Microbatches(0, 24.0, 3, 60, [_build_pack()]), RATE)
    return learner


def _build_pack():
    ids = torch.randint(3, 500, (3, 20), generator=torch.Generator().manual_seed(1)).tolist()
    return build_pack([TokenRow(str(number), "", ids[0][:6] + own[:6], own[6:14]) for number, own in enumerate(ids)])


def _list_trained(model):
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def _score(model):
    return model.eval()(input_ids=torch.arange(3, 40)[None], use_cache=False).logits

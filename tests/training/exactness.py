"""How exactly an architecture is trained and merged here, against plain Transformers and PEFT on the same weights."""

import torch
from peft import get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, AutoModelForCausalLM

from eshop_ray.artifacts import write_manifest
from eshop_ray.config import Config, MergeSection
from eshop_ray.errors import UserError
from eshop_ray.models import model_digest
from eshop_ray.training.kernels import attention
from eshop_ray.training.learner import build_learner
from eshop_ray.training.loss import answer_loss
from eshop_ray.training.merging.fold import write_merged
from eshop_ray.training.merging.recipe import Recipe
from eshop_ray.training.model import save_trained
from eshop_ray.training.packing.pack import TokenRow, build_pack
from eshop_ray.training.trainer import check_training
from tests.training.architectures import NO_ATTENTION, NO_LAYOUT, ONE_ROW, OTHER_LAYERS, PACKED, REFUSED, WHOLLY_PACKED

CPU = torch.device("cpu")
TINY_GRADIENT = 1e-7
"""Below that a weight's gradient is no measure."""
LEAST_CHANGE = 1e-2
"""By which the adapter has to change the scores, else merging shows nothing."""


def measure(architecture, folder):
    """Train and merge one of them.

    Args:
        architecture: Which.
        folder: Gets the base, the adapter and the merged model.

    Returns:
        `road`, `reason`, `packed`; `gradient_error`, the largest error of a weight's gradient, relative to it, of all
        weights and of an adapter's; `merge_error`, the largest difference of a score, relative to the largest score.
        Both are None for what is refused.
    """
    base = folder / "base"
    architecture.save_config(base)
    configs = {method: build_config(base, method, architecture.lora) for method in ("full", "lora")}
    try:
        for config in configs.values():
            check_training(config, base)
        architecture.build().save_pretrained(base)
        learners = {method: build(config, base) for method, config in configs.items()}
    except UserError as error:
        reason = str(error).replace(str(base), architecture.name)
        return {"gradient_error": None, "merge_error": None, "packed": False, "road": REFUSED, "reason": reason}
    save_adapter(learners["lora"].model, base, folder / "adapter")
    references = {"full": load(base), "lora": adapt(load(base), learners["lora"].model)}
    errors = [compare_gradients(learner, references[method]) for method, learner in learners.items()]
    is_packed = learners["lora"].execution.is_packed
    assert is_packed == learners["full"].execution.is_packed
    return {
        "gradient_error": max(errors),
        "merge_error": measure_merge(base, folder, references["lora"]),
        "packed": is_packed,
        "road": PACKED if is_packed else ONE_ROW,
        "reason": WHOLLY_PACKED if is_packed else find_reason(learners["full"].model),
    }


def build_config(base, method, lora):
    """What a user writes for it."""
    train = {"method": method, "precision": "fp32", "max_row_length": 64}
    return Config(name="run", model={"source": str(base)}, lora={"r": 4, "lora_alpha": 8, **lora}, train=train)


def build(config, base):
    """As a worker builds it, with an update that is not zero and without dropout."""
    learner = build_learner(base, config.train, config.lora, 0, CPU)
    learner.model.eval()
    learn(learner)
    torch.manual_seed(1)
    for name, weight in learner.model.named_parameters():
        # As after training: what got no gradient, as its layer is never called, is still zero.
        if "lora_B" in name and weight.grad is not None:
            torch.nn.init.normal_(weight, std=0.1)
    learner.optimizer.zero_grad()
    return learner


def save_adapter(model, base, folder):
    trained = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    save_trained(trained, model, folder)
    write_manifest(folder, "adapter", "inputs", {"base": model_digest(base)})


def load(folder):
    """A model as Transformers computes it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def adapt(base, model):
    """PEFT's wrapper of a base with another one's adapter."""
    copy = get_peft_model(base, model.peft_config["default"]).eval()
    update = {name: weight for name, weight in model.state_dict().items() if ".lora_" in name}
    copy.load_state_dict(update, strict=False)
    return copy


def compare_gradients(learner, reference):
    """Return the largest error of a trained weight's gradient: rows by the learner's road, and one by one."""
    learn(learner)
    learn_row_by_row(reference, draw_rows())
    found, errors = dict(learner.model.named_parameters()), []
    for name, weight in reference.named_parameters():
        if weight.grad is not None and weight.grad.norm() > TINY_GRADIENT:
            gradient = torch.zeros_like(weight) if found[name].grad is None else found[name].grad
            errors.append(float((gradient - weight.grad).norm() / weight.grad.norm()))
    return max(errors)


def learn(learner):
    """Leave the gradients of all rows at the weights, by the learner's road."""
    pack = build_pack(draw_rows())
    for part in [pack] if learner.execution.is_packed else pack.split():
        answer_loss(learner.model, part, learner.execution.attention, CPU).backward()


def draw_rows():
    """Three rows that begin alike."""
    ids = torch.randint(1, 100, (3, 20), generator=torch.Generator().manual_seed(1)).tolist()
    return [TokenRow(str(number), "", ids[0][:6] + own[:6], own[6:14]) for number, own in enumerate(ids)]


def learn_row_by_row(model, rows):
    """Leave the gradients of all rows at the weights."""
    for row in rows:
        ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
        scores = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1]
        cross_entropy(scores.float(), ids[0, len(row.prompt_ids) :], reduction="sum").backward()


def measure_merge(base, folder, reference):
    """Return the largest difference of a merged model's scores from those of base and adapter, relative to these."""
    write_merged(Recipe(base, (folder / "adapter",), MergeSection(), 0), folder / "merged")
    expected, largest = score(reference), float(score(reference).abs().max())
    change = float((score(load(base)) - expected).abs().max()) / largest
    assert change > LEAST_CHANGE, f"the adapter changes scores by {change:.1g} only"
    return float((score(load(folder / "merged")) - expected).abs().max()) / largest


@torch.no_grad()
def score(model):
    """Return the scores (T, V) of one row's tokens."""
    (row,) = draw_rows()[:1]
    return model(input_ids=torch.tensor([[*row.prompt_ids, *row.answer_ids]]), use_cache=False).logits[0]


def find_reason(model):
    """Return why rows of a model cannot share a pass, by what reaches the attention of packs."""
    seen = []

    def note(*args, layout=None, **options):
        seen.append(layout)
        return attention._attend(*args, layout=layout, **options)

    AttentionInterface.register(attention.NAME, note)
    try:
        answer_loss(model, build_pack(draw_rows()), "mask", CPU)
    finally:
        attention.use_layouts(model)
    if not seen:
        return NO_ATTENTION
    return NO_LAYOUT if any(layout is None for layout in seen) else OTHER_LAYERS

"""Layers of a model with an adapter, replaced by faster ones, as its base is frozen.

What may be replaced is told by what a layer is made of and how its output is used, not by names of models: these change
with every release of Transformers and PEFT. Each replacement is tried on a few tokens, forward and backward, and taken
only if it computes what the layer that it replaces does.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.nn.functional import cross_entropy

from eshop_ray.training.kernels import frozen_head, frozen_norm, fused_lora
from eshop_ray.training.kernels.frozen_head import FrozenHead
from eshop_ray.training.model import get_causal_lm

logger = logging.getLogger(__name__)

NUM_TOKENS = 8
"""Tokens that are tried."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 4e-2}
"""Norm of a difference, relative to what is right: sums are taken in another order, and rounded on the way."""
CAST = "ToCopyBackward"
"""How the step is called in which autocast brings a value to its own precision."""


@dataclass(slots=True)
class Substitutes:
    """What was replaced in a model, and how to take it back."""

    undo_steps: list[Callable[[], None]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Kind -> layers that were replaced."""

    def undo(self) -> None:
        """Put the model's own layers back."""
        while self.undo_steps:
            self.undo_steps.pop()()
        self.counts.clear()

    def take(self, kind: str, undo: Callable[[], None]) -> None:
        """Note one."""
        self.undo_steps.append(undo)
        self.counts[kind] += 1


def substitute_layers(model: Any, precision: str, replaces_head: bool) -> Substitutes:
    """Let a model with an adapter compute the same in less time.

    Args:
        model: PEFT's wrapper of a causal LM, whole, on one device.
        precision: `fp32` or `bf16`, in which it computes.
        replaces_head: Whether the head may be replaced. Who holds a share of its weights computes with it only where
            they are gathered.

    Returns:
        What was replaced.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    taken = Substitutes()
    norms = [module for module in model.modules() if frozen_norm.can_freeze(module)]
    causal_lm = get_causal_lm(model)
    head = causal_lm.get_output_embeddings()
    observed = _observe(model, [*norms, head], dtype)
    _avoid_casts(model, dtype, taken)
    for module in model.modules():
        if _is_safe(fused_lora.can_fuse, module) and _is_safe(_try_update, module, dtype):
            fused_lora.fuse_update(module)
            taken.take("updates", _remover(module))
    for norm in norms:
        call = observed.calls.get(norm)
        if call is not None and _is_safe(_try_norm, norm, call, observed, dtype):
            frozen_norm.freeze_norm(norm, dtype)
            taken.take("norms", _remover(norm))
    call = observed.calls.get(head)
    if replaces_head and call is not None and _is_safe(_try_head, head, call, observed.logits, dtype):
        causal_lm.set_output_embeddings(FrozenHead(head.weight.detach().to(dtype)))
        taken.take("heads", lambda: causal_lm.set_output_embeddings(head))
    logger.debug("replaced: %s", dict(taken.counts))
    return taken


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a layer: (..., D) in and out."""

    states: Tensor
    output: Tensor


@dataclass(frozen=True, slots=True)
class _Observed:
    """One pass of a few tokens."""

    calls: dict[Any, _Call]
    """By layer; only of those that were called once, with nothing but states."""
    logits: Tensor
    consumers: dict[Any, list[str]]
    """Node of the graph of gradients -> names of the nodes that take its output."""

    def is_cast_everywhere(self, output: Tensor, dtype: torch.dtype) -> bool:
        """Whether all that takes a value brings it to `dtype` first, so that it may come in it."""
        names = self.consumers.get(output.grad_fn, [])
        return output.dtype == dtype or (bool(names) and all(name.startswith(CAST) for name in names))


def _observe(model: Any, layers: Sequence[Any], dtype: torch.dtype) -> _Observed:
    causal_lm = get_causal_lm(model)
    embedding, found, num_calls = causal_lm.get_input_embeddings(), dict[Any, _Call](), Counter[Any]()

    def note(layer: Any, inputs: Any, options: Any, output: Any) -> None:
        num_calls[layer] += 1
        if len(inputs) == 1 and not options and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            found[layer] = _Call(inputs[0], output)

    hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers if layer is not None]
    hooks.append(embedding.register_forward_hook(lambda *call: call[-1].detach().requires_grad_().clone()))
    device, was_training = embedding.weight.device, model.training
    ids = torch.arange(NUM_TOKENS, device=device)[None] % len(embedding.weight)
    model.eval()
    try:
        with torch.enable_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = causal_lm(input_ids=ids, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    calls = {layer: call for layer, call in found.items() if num_calls[layer] == 1}
    return _Observed(calls, logits, _list_consumers(logits))


def _list_consumers(result: Tensor) -> dict[Any, list[str]]:
    consumers: defaultdict[Any, list[str]] = defaultdict(list)
    left, seen = [result.grad_fn], {result.grad_fn}
    while left:
        node = left.pop()
        for source, _ in node.next_functions:
            if source is not None:
                consumers[source].append(node.name())
                if source not in seen:
                    seen.add(source)
                    left.append(source)
    return dict(consumers)


def _avoid_casts(model: Any, dtype: torch.dtype, taken: Substitutes) -> None:
    """Let autocast bring bf16 to the precision of an update's weights itself, not PEFT by way of fp32."""
    if dtype == torch.float32:
        return
    for module in model.modules():
        if isinstance(module, LoraLayer) and getattr(module, "cast_input_dtype_enabled", False):
            module.cast_input_dtype_enabled = False
            taken.take("casts", _setter(module))


def _setter(module: Any) -> Callable[[], None]:
    return lambda: setattr(module, "cast_input_dtype_enabled", True)


def _remover(module: Any) -> Callable[[], None]:
    """Return what gives a layer its own forward pass back."""
    return lambda: vars(module).pop("forward", None)


def _is_safe(check: Callable[..., bool], *args: Any) -> bool:
    """Return what a check says; one that fails, as another release has other names, says no."""
    try:
        return check(*args)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        logger.info("%s is computed as it is: %s", type(args[0]).__name__, type(error).__name__)
        return False


def _try_update(module: Any, dtype: torch.dtype) -> bool:
    """Compare a fused layer with PEFT's, with an update that is not zero, as a fresh one is."""
    up = module.lora_B[fused_lora.ADAPTER].weight
    draw, kept = torch.Generator().manual_seed(0), up.data
    states = torch.randn(1, NUM_TOKENS, module.base_layer.in_features, generator=draw).to(up.device)
    up.data = torch.randn(up.shape, generator=draw).to(up)
    try:
        learned = [weight for name, weight in module.named_parameters() if "lora_" in name and weight.requires_grad]
        expected = _differentiate(module, states, learned, dtype)
        fused_lora.fuse_update(module)
        return _is_close(_differentiate(module, states, learned, dtype), expected, dtype)
    finally:
        vars(module).pop("forward", None)
        up.data = kept


def _try_norm(norm: Any, call: _Call, observed: _Observed, dtype: torch.dtype) -> bool:
    if not observed.is_cast_everywhere(call.output, dtype):
        return False
    expected = _differentiate(norm, call.states, [], dtype)
    frozen_norm.freeze_norm(norm, dtype)
    try:
        return _is_close(_differentiate(norm, call.states, [], dtype), expected, dtype)
    finally:
        del norm.forward


def _try_head(head: Any, call: _Call, logits: Tensor, dtype: torch.dtype) -> bool:
    """Whether a model's scores are its head's product and nothing else, and the losses of the product are right."""
    if not frozen_head.can_freeze(head) or logits.shape != call.output.shape or not torch.equal(logits, call.output):
        return False
    states = call.states.reshape(-1, call.states.shape[-1])
    labels = torch.arange(len(states), device=states.device) % len(head.weight)
    frozen = FrozenHead(head.weight.detach().to(dtype))
    expected = _differentiate(
        lambda part: cross_entropy(head(part).float(), labels, reduction="none"), states, [], dtype
    )
    return _is_close(_differentiate(lambda part: frozen.measure(part, labels), states, [], dtype), expected, dtype)


def _differentiate(
    layer: Callable[[Tensor], Tensor], states: Tensor, weights: Sequence[Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """Return a layer's output, and the gradients of its input and weights for a fixed gradient of the output."""
    states = states.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(states.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = layer(states)
    pull = torch.linspace(-1, 1, output.numel(), device=output.device).view_as(output).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, [states, *weights], pull)]


def _is_close(found: Sequence[Tensor], expected: Sequence[Tensor], dtype: torch.dtype) -> bool:
    return all(
        float((ours.float() - theirs.float()).norm()) <= TOLERANCE[dtype] * float(theirs.float().norm())
        for ours, theirs in zip(found, expected, strict=True)
    )

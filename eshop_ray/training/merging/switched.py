"""Adapters of several tasks that stay apart: one model folder, in which each task keeps its own update of the base."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from eshop_ray.data.tokenization import tokenize_answer, tokenize_prompt
from eshop_ray.models import load_tokenizer
from eshop_ray.models.switched import TaskProof, update_dir, write_proofs
from eshop_ray.models.switched_weights import list_changed, read_folded, write_update
from eshop_ray.tasks import get_task
from eshop_ray.training.merging.adapters import AdapterFile, name_adapters


def write_updates(model_dir: Path, adapters: Sequence[AdapterFile], share: float) -> None:
    """Write every update into a folder that holds the base's weights already, and what proves an exchange.

    Args:
        model_dir: Gets them.
        adapters: Plain ones of that base.
        share: Of each update that goes into the base.
    """
    named = name_adapters(adapters)
    for name, adapter in named.items():
        factors = {module: adapter.read(module) for module in adapter.modules}
        scaled = {module: (factor_a, factor_b * share) for module, (factor_a, factor_b) in factors.items()}
        write_update(update_dir(model_dir, name), scaled)
    write_proofs(model_dir, prove(model_dir, named))


@torch.inference_mode()  # type: ignore[untyped-decorator]
def prove(model_dir: Path, names: Iterable[str]) -> dict[str, TaskProof]:
    """Return what the model says to a worked example of each task with that update, by Transformers in fp32."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(model_dir)
    examples = {name: _write_example(tokenizer, name.partition("/")[0]) for name in names}
    by_base = {name: _score(model, ids) for name, ids in examples.items()}
    changed = list_changed(model_dir, examples)
    weights = dict(model.named_parameters(remove_duplicate=False))
    proofs = {}
    for name, ids in examples.items():
        for weight, tensor in read_folded(model_dir, name, changed):
            weights[weight].copy_(tensor)
        proofs[name] = TaskProof(ids, _score(model, ids), by_base[name])
    return proofs


def _write_example(tokenizer: Any, name: str) -> list[int]:
    task = get_task(name)
    messages = task.build_messages(task.examples[0])
    answer = task.format_target(task.examples[0]["target"])
    return [*tokenize_prompt(tokenizer, messages), *tokenize_answer(tokenizer, messages, answer)]


def _score(model: nn.Module, ids: Sequence[int]) -> list[float]:
    """Return the log probability of each token but the first."""
    logprobs = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].log_softmax(-1)
    return [round(float(row[token]), 5) for row, token in zip(logprobs, ids[1:], strict=True)]

"""Architectures of Transformers, small and with random weights: by which road each is trained, and how exactly."""

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from eshop_ray.training.isolation import keeps_rows_apart
from eshop_ray.training.kernels.attention import use_layouts
from eshop_ray.training.loss import answer_loss
from eshop_ray.training.packing.pack import TokenRow, build_pack

CPU = torch.device("cpu")
SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
TINY_GRADIENT = 1e-7
"""Below that a weight's gradient is no measure."""


@dataclass(frozen=True)
class Architecture:
    """One of them."""

    name: str
    is_packed: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    """Of its config, besides `SMALL`; None takes one out."""

    def build(self, attention=None):
        """The model, the same each time."""
        options = {name: value for name, value in {**SMALL, **self.options}.items() if value is not None}
        config = getattr(transformers, f"{self.name}Config")(**options)
        torch.manual_seed(0)
        given = {"attn_implementation": attention} if attention else {}
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, **given).eval()


PACKED = (
    *("Llama", "Mistral", "Qwen2", "Qwen3", "Phi", "Phi3", "Olmo", "Olmo2", "SmolLM3", "Granite", "Cohere", "Cohere2"),
    *("Glm4", "Gemma", "Gemma3Text", "Mixtral", "Qwen3Moe", "GPT2", "GPTNeoX", "OPT", "Starcoder2", "Exaone4"),
    *("Ernie4_5", "Helium", "Persimmon", "Arcee"),
)
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "head_dim": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
}
"""Attention over latent values, and a mixture of experts."""
HYBRID = {
    "Lfm2": {"layer_types": ["conv", "full_attention"]},
    "Qwen3Next": {},
    "Qwen3_5Text": {},
    "Bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "attn_layer_indices": [1]},
    "GraniteMoeHybrid": {"mamba_n_heads": 8, "layer_types": ["mamba", "attention"]},
    "Jamba": {"use_mamba_kernels": False},
    "FalconH1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16},
    "Mamba": {},
    "RecurrentGemma": {},
    "MiniMax": {},
    "Bloom": {},
    "Falcon": {"head_dim": None},
    "StableLm": {"head_dim": None},
    "Nemotron": {"head_dim": None},
}
"""With layers that are no attention, or an attention that the packing does not reach."""
ARCHITECTURES = (
    *(Architecture(name) for name in PACKED),
    Architecture("DeepseekV3", True, LATENT),
    *(Architecture(name, False, options) for name, options in HYBRID.items()),
)


def measure(architecture):
    """Whether rows share a pass, and the largest relative error of a weight's gradient against row by row."""
    model = architecture.build()
    use_layouts(model)
    is_packed = keeps_rows_apart(model, "fp32")
    rows = draw_rows()
    pack = build_pack(rows)
    for part in [pack] if is_packed else pack.split():
        answer_loss(model, part, "gather", CPU).backward()
    return is_packed, compare_gradients(model, learn_row_by_row(architecture, rows))


def draw_rows():
    ids = torch.randint(1, 100, (3, 20), generator=torch.Generator().manual_seed(1)).tolist()
    return [TokenRow(str(number), "", ids[0][:6] + own[:6], own[6:14]) for number, own in enumerate(ids)]


def learn_row_by_row(architecture, rows):
    """The model as Transformers computes it, with the gradients of all rows."""
    model = architecture.build(attention="eager")
    for row in rows:
        ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
        scores = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1]
        cross_entropy(scores.float(), ids[0, len(row.prompt_ids) :], reduction="sum").backward()
    return model


def compare_gradients(model, reference):
    expected = dict(reference.named_parameters())
    errors = []
    for name, weight in model.named_parameters():
        gradient = expected[name].grad
        if gradient is not None and gradient.norm() > TINY_GRADIENT:
            found = torch.zeros_like(gradient) if weight.grad is None else weight.grad
            errors.append(float((found - gradient).norm() / gradient.norm()))
    return max(errors)

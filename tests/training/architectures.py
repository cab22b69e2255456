"""Architectures of Transformers, small and with random weights: by which road each is trained, and why."""

import functools
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.training.small_models import SHAPES

PACKED, ONE_ROW, REFUSED, FAILED = "packed", "one row", "refused", "failed"
WHOLLY_PACKED = "all that looks at other tokens is attention that follows the pack"
NO_ATTENTION = "its layers are no attention, or compute it in code of their own"
NO_LAYOUT = "it does not tell its attention about the pack"
OTHER_LAYERS = "beside its attention it has layers that look at other tokens"
OTHER_LOSSES = "packs are computed with an attention that gives other losses than its own"

VOCABULARY = 100
SMALL = {
    "vocab_size": VOCABULARY,
    **SHAPES,
    "pad_token_id": 0,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
}
NOISE = 0.1


@dataclass(frozen=True)
class Architecture:
    """One of them."""

    name: str
    road: str = PACKED
    reason: str = WHOLLY_PACKED
    """Of the road; of a refusal, words of what the user is told."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of its config, besides `SMALL`; None takes one out."""
    lora: dict[str, Any] = field(default_factory=dict)
    """Of the section `lora`, where the default does not do."""

    def config(self):
        """Return its config; a name may say more in brackets."""
        options = {name: value for name, value in {**SMALL, **self.options}.items() if value is not None}
        name, _, _ = self.name.partition(" ")
        return getattr(transformers, f"{name}Config")(**options)

    def build(self):
        """Return the model, the same each time, with no weight that does nothing, as zeros and ones would."""
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(self.config(), dtype=torch.float32).eval()
        for weight in model.parameters():
            idle = (weight == 0) | (weight == weight.flatten()[0]).all() & (weight.numel() > 1)
            weight.data.add_(torch.randn_like(weight) * idle, alpha=NOISE)
        return model

    def save_config(self, folder):
        """Write what is known before weights are loaded: config and tokenizer."""
        self.config().save_pretrained(folder)
        build_tokenizer().save_pretrained(folder)


@functools.cache
def build_tokenizer():
    """Return one that knows the characters of plain texts and has a chat template."""
    known = ["<pad>", "<end>", "<unknown>", *map(chr, range(32, 127))]
    characters = Tokenizer(models.WordLevel({name: number for number, name in enumerate(known)}, unk_token="<unknown>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    options = {"pad_token": "<pad>", "eos_token": "<end>", "chat_template": template}
    return PreTrainedTokenizerFast(tokenizer_object=characters, **options)


EXPERTS = {
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    "num_experts_per_tok": 2,
}
"""A mixture of experts, by whatever name each has it."""
LATENT = {
    **EXPERTS,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "head_dim": 4,
    "num_key_value_heads": 4,
}
"""Attention over latent values, and a mixture of experts."""
INPUTS_BY_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY}
NO_HEAD_DIM = {"head_dim": None}
TWO_KINDS = {"layer_types": ["linear_attention", "full_attention"]}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16}


def without(*layers):
    """Return what a user writes to leave layers out."""
    return {"options": {"exclude_modules": list(layers)}}


def list_packed():
    """Return those whose rows share a pass."""
    plain = (
        *("Llama", "Mistral", "Qwen2", "Qwen3", "Phi", "Phi3", "Olmo", "Olmo2", "Olmo3", "SmolLM3", "Granite"),
        *("Cohere", "Cohere2", "Glm", "Glm4", "Gemma", "Gemma3Text", "GPT2", "GPTNeoX", "GPTBigCode", "OPT"),
        *("Starcoder2", "Exaone4", "Ernie4_5", "Helium", "Persimmon", "Arcee", "Apertus", "SeedOss"),
        *("HunYuanDenseV1", "Ministral", "Ministral3", "HyperCLOVAX", "NanoChat", "Jais2", "BitNet", "Cwm"),
        *("DiffLlama", "ModernBertDecoder", "BioGpt", "CTRL"),
    )
    experts = (
        *("Mixtral", "Qwen2Moe", "Qwen3Moe", "Olmoe", "FlexOlmo", "GraniteMoe", "GraniteMoeShared", "JetMoe"),
        *("AriaText", "HunYuanMoEV1", "Cohere2Moe", "Afmoe", "Dots1", "Ernie4_5_Moe", "ExaoneMoe", "Glm4Moe", "HYV3"),
        *("MiniMaxM2", "SolarOpen", "Laguna"),
    )
    latent = ("DeepseekV2", "DeepseekV3", "Glm4MoeLite", "LongcatFlash", "MiniCPM3", "Youtu", "AXK1")
    return (
        *(Architecture(name) for name in plain),
        *(Architecture(name, options=EXPERTS) for name in experts),
        *(Architecture(name, options=LATENT) for name in latent),
        Architecture("Gemma3nText", options={**INPUTS_BY_LAYER, "num_kv_shared_layers": 0, "laurel_rank": 8}),
        Architecture("Gemma4Text", options={**INPUTS_BY_LAYER, "global_head_dim": 8}),
        *(Architecture(name, options=EXPERTS, lora=without("router")) for name in ("Llama4Text", "Phimoe")),
    )


def list_one_row():
    """Return those whose rows would see each other, and why."""
    kimi = {**LATENT, **TWO_KINDS, "q_lora_rank": None, "linear_head_dim": 8, "linear_num_heads": 4}
    delta = {
        **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
        **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 4),
    }
    mamba2 = {"num_heads": 8, "state_size": 16, "n_groups": 2, "chunk_size": 16}
    neo = {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 4}
    other_layers = {
        "Lfm2": {"layer_types": ["conv", "full_attention"]},
        "Lfm2Moe": {**EXPERTS, "layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
        "Bamba": {**MAMBA, "attn_layer_indices": [1]},
        "GraniteMoeHybrid": {**EXPERTS, "mamba_n_heads": 8, "layer_types": ["mamba", "attention"]},
        "MiniMax": {},
        "OlmoHybrid": {},
        "KimiLinear": kimi,
    }
    own_code = {
        **{name: {} for name in ("Bloom", "Mpt", "OpenAIGPT", "XGLM", "RoFormer", "Rwkv", "Jamba", "Lfm3")},
        "RecurrentGemma": {},
        "Qwen3_5Text": delta,
        "Qwen3Next": {**EXPERTS, **delta},
        "Falcon": NO_HEAD_DIM,
        "GPTNeo": neo,
        "GPTJ": {"rotary_dim": 4},
        "CodeGen": {"rotary_dim": 4},
        "xLSTM": {"num_heads": 4},
    }
    outside = without("out_proj")
    """PEFT puts no update on that layer of Mamba's kinds."""
    return (
        *(Architecture(name, ONE_ROW, OTHER_LAYERS, options) for name, options in other_layers.items()),
        Architecture("FalconH1", ONE_ROW, OTHER_LAYERS, {**MAMBA, "mamba_d_ssm": 64}, outside),
        Architecture("NemotronH", ONE_ROW, OTHER_LAYERS, EXPERTS, outside),
        *(Architecture(name, ONE_ROW, NO_ATTENTION, options) for name, options in own_code.items()),
        *(Architecture(name, ONE_ROW, NO_ATTENTION, {}, outside) for name in ("Mamba", "FalconMamba")),
        Architecture("Mamba2", ONE_ROW, NO_ATTENTION, mamba2, outside),
        *(Architecture(name, ONE_ROW, NO_LAYOUT, NO_HEAD_DIM) for name in ("StableLm", "Nemotron")),
    )


def list_refused():
    """Return those that cannot be trained, and what the user is told."""
    zamba = {**NO_HEAD_DIM, "num_hidden_layers": 4, "num_key_value_heads": 4, "n_mamba_heads": 2}
    zamba |= {"attn_layer_period": 3, "attn_layer_offset": 0}
    window, quantized = {"sliding_window": 16}, {"quantization_config": {"quant_method": "fp8"}}
    return (
        *(Architecture(name, REFUSED, "its attention has a cap on its scores") for name in ("Gemma2", "VaultGemma")),
        *(Architecture(name, REFUSED, "its attention has sinks") for name in ("GptOss", "GraniteSWA")),
        Architecture("MiMoV2Flash", REFUSED, "its attention has sinks", EXPERTS),
        *(Architecture(name, REFUSED, OTHER_LOSSES, LATENT) for name in ("DeepseekV32", "GlmMoeDsa")),
        *(Architecture(name, REFUSED, OTHER_LOSSES) for name in ("Doge", "Bert")),
        Architecture("Zamba", REFUSED, "shares its weight with another layer", zamba),
        Architecture("Llama4Text (with its routers)", REFUSED, "is more than a product (Llama4Router)", EXPERTS),
        Architecture("Mamba (with out_proj)", REFUSED, "incompatible with Mamba-based models"),
        Architecture("CpmAnt", REFUSED, "it fails with a row of tokens", {"dim_head": 8, "dim_ff": 32}),
        Architecture("T5", REFUSED, "Transformers has no causal language model"),
        Architecture("Mistral (short window)", REFUSED, "this base attends to the last 16 tokens only", window),
        Architecture("Llama (quantized)", REFUSED, "is kept quantized", quantized),
    )


ARCHITECTURES = (*list_packed(), *list_one_row(), *list_refused())
"""Each is trained and merged exactly, or refused before; the docs list them."""

"""Every option of PEFT goes the whole road, from training to the merged model, or is refused before it starts."""

import dataclasses

import pytest
import torch
from peft import LoraConfig
from transformers import Llama4TextConfig

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.training.adapter_options import REFUSED, STARTS
from eshop_ray.training.model import check_method
from tests.training.adapter_road import BASES, SMALL, save_base, travel

BLOCKS = {"target_modules_bd_a": ["o_proj"], "target_modules_bd_b": ["q_proj"], "nblocks": 2, "match_strict": False}
WHOLE = {"modules_to_save": ["lm_head"], "ensure_weight_tying": True}
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
FAST = [
    ("tied", "bf16", {}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"k_proj": 5}}),
    ("tied", "bf16", {}, WHOLE),
    ("tied", "bf16", {"freeze_a": True}, {"use_dora": True}),
    ("tied", "fp32", {}, {"trainable_token_indices": [290, 13]}),
    ("untied", "bf16", {"target_modules": ("q_proj", "lm_head", "embed_tokens")}, {}),
    ("untied", "bf16", {}, {"modules_to_save": ["embed_tokens", "lm_head", "norm"], "use_dora": True}),
    ("biased", "bf16", {"target_modules": ("q_proj",)}, {"lora_bias": True, "bias": "all", "layers_to_transform": 1}),
    ("biased", "bf16", {}, {"bias": "all"}),
    ("experts", "bf16", {}, {}),
    ("with pictures", "fp32", {}, {}),
]
"""Base, precision, fields of the section, options."""
SLOW = [
    ("tied", "fp32", {}, {**WHOLE, "modules_to_save": ["embed_tokens"]}),
    ("tied", "bf16", {}, {"trainable_token_indices": {"embed_tokens": [290], "lm_head": [290]}}),
    ("untied", "fp32", {"target_modules": ("q_proj", "lm_head", "embed_tokens")}, {}),
    ("untied", "bf16", {}, {"trainable_token_indices": {"embed_tokens": [290], "lm_head": [3]}}),
    ("untied", "bf16", {}, {"modules_to_save": ["q_proj"]}),
    ("untied", "fp32", {"target_modules": ()}, {"target_parameters": ["q_proj.weight"]}),
    ("untied", "fp32", {}, {"exclude_modules": ["q_proj"], "fan_in_fan_out": True}),
    ("untied", "fp32", {}, {"velora_config": {"num_groups": 4}}),
    ("untied", "fp32", {}, {"use_bdlora": BLOCKS}),
    ("untied", "fp32", {"target_modules": ("q_proj",)}, {"layers_to_transform": [0], "layers_pattern": "layers"}),
    *(("untied", "fp32", {}, {"init_lora_weights": start}) for start in STARTS),
    ("biased", "bf16", {}, {"bias": "lora_only"}),
    ("experts", "fp32", {"target_modules": ("q_proj",)}, {"target_parameters": EXPERTS}),
    ("experts", "fp32", {"target_modules": ("q_proj", "gate_proj", "up_proj", "down_proj")}, {}),
    ("renamed experts", "fp32", {}, {"use_rslora": True}),
    ("renamed experts", "fp32", {"target_modules": ("q_proj", "w2")}, {}),
    ("turned", "fp32", {}, {"use_dora": True, "bias": "all"}),
    ("turned", "bf16", {}, {"trainable_token_indices": [290]}),
]
GOING = [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]

WRONG = [
    ("tied", {}, {"modules_to_save": ["lm_head"]}, r"trains lm_head, which .* add `ensure_weight_tying: true`"),
    ("tied", {}, {"trainable_token_indices": {"lm_head": [7]}}, "as a plain list of ids, which counts for both"),
    ("tied", {}, {"trainable_token_indices": {"embed_tokens": [7], "lm_head": [3]}}, "as a plain list of ids"),
    ("tied", {"target_modules": ("q_proj", "lm_head")}, {}, r"take it out of `lora\.target_modules`"),
    ("tied", {"target_modules": ("embed_tokens",)}, {"ensure_weight_tying": True}, r"trains model\.embed_tokens"),
    ("tied", {}, {"ensure_weight_tying": True}, "or none of them is trained; leave it out"),
    ("untied", {}, WHOLE, "the base ties no embeddings"),
    ("untied", {}, {"bias": "all"}, "this base has no biases to train"),
    ("untied", {}, {"bias": "some"}, r"`lora\.options\.bias: some`: Input should be 'none', 'all' or 'lora_only'"),
    ("untied", {}, {"lora_bias": True}, r"down_proj has no bias that|_proj has no bias that"),
    ("untied", {}, {"trainable_token_indices": [600]}, "the base has no token 600, it knows 600"),
    ("untied", {}, {"trainable_token_indices": [7, 7]}, "a token is named twice"),
    ("untied", {"target_modules": ("q_proj", "k_prj")}, {}, r"k_prj fits nothing in the base"),
    ("untied", {}, {"modules_to_save": ["nowhere"]}, r"modules_to_save`: nowhere fits nothing"),
    ("untied", {}, {"exclude_modules": ["nowhere"]}, r"exclude_modules`: nowhere fits nothing"),
    ("untied", {}, {"exclude_modules": "("}, r"does not fit the model .*unterminated subpattern"),
    ("untied", {}, {"rank_pattern": {"nowhere": 2}}, r"rank_pattern`: nowhere fits nothing"),
    ("untied", {}, {"rank_pattern": ["q_proj"]}, "Input should be a valid dictionary"),
    ("untied", {}, {"alpha_pattern": {"q_proj": 0}}, "would count 0 times"),
    ("untied", {}, {"target_parameters": ["nowhere.weight"]}, r"target_parameters`: nowhere\.weight fits nothing"),
    ("untied", {}, {"init_lora_weights": "mica"}, "set one of True, False, gaussian, orthogonal"),
    ("untied", {"freeze_a": True, "target_modules": ("embed_tokens",)}, {}, r"A of model\.embed_tokens, an embedding"),
    ("experts", {"orthogonal": (1, 2)}, {}, r"update of .*experts.* is no product of two plain matrices"),
    ("untied", {"r": 3}, {"init_lora_weights": "orthogonal"}, "requires the LoRA rank to be even"),
    ("experts", {"lora_dropout": 0.1}, {}, "has experts, .* take no `lora_dropout`; leave that out"),
    ("experts", {}, {"use_dora": True}, "has experts, .* take no `use_dora`"),
    ("experts", {}, {"alpha_pattern": {"experts.gate_up_proj": 5}}, "read it back as something else"),
    ("with pictures", {}, {"exclude_modules": ["q_proj"]}, r"trains model\.vision_tower, which reads no text"),
    ("with pictures", {}, {"bias": "all"}, r"trains model\.vision_tower, .* `bias: lora_only`"),
    ("turned", {}, {"modules_to_save": ["wte"], "ensure_weight_tying": True}, "PEFT knows them by that name"),
    ("turned", {}, WHOLE, "read it back as something else"),
]


@pytest.fixture(scope="session")
def bases(tiny_model_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {name: save_base(name, tiny_model_dir, folder / name.replace(" ", "-")) for name in BASES}


def test_every_field_of_peft_is_tried_or_refused():
    own = set(LoraSection.model_fields)
    tried = {name for *_, options in (*FAST, *SLOW) for name in options}
    assert {field.name for field in dataclasses.fields(LoraConfig)} - own == tried | REFUSED.keys()


@pytest.mark.parametrize(("base", "precision", "fields", "options"), GOING)
def test_an_option_goes_the_whole_road(bases, tmp_path, base, precision, fields, options):
    lora, train = LoraSection(r=4, options=options, **fields), TrainSection(precision=precision)
    arrival = travel(bases[base], lora, train, tmp_path)
    assert arrival.effect > 0.5
    assert arrival.error < 1e-4
    assert arrival.start < 1e-4
    assert not arrival.differences
    assert not arrival.untouched
    assert arrival.types == {torch.float32}
    assert arrival.is_tied == (base in ("tied", "turned", "with pictures"))
    assert (tmp_path / "merged" / "preprocessor_config.json").exists() == (base == "with pictures")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_option_says_why(bases, name):
    with pytest.raises(UserError, match=rf"`lora\.options\.{name}` .*; leave it out"):
        check(bases["untied"], {name: {}})


@pytest.mark.parametrize(("base", "fields", "options", "said"), WRONG)
def test_what_would_end_late_is_told_before_loading(bases, base, fields, options, said):
    with pytest.raises(UserError, match=said):
        check(bases[base], options, **fields)


def test_a_router_is_no_product(tmp_path):
    text = {**SMALL, "num_local_experts": 2, "attention_chunk_size": 64, "no_rope_layers": [1, 1]}
    Llama4TextConfig(**text).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"router is more than a product .*exclude_modules` to \['router'\]"):
        check(tmp_path, {})
    check(tmp_path, {"exclude_modules": ["router"]})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bias": "all"}, r"`lora\.options\.bias` cannot be trained over a base in 4 bits"),
        ({"use_bdlora": BLOCKS}, "use_bdlora"),
        ({"velora_config": {}}, "velora_config"),
        ({"init_lora_weights": "orthogonal"}, "init_lora_weights: orthogonal"),
        ({"modules_to_save": ["q_proj"]}, r"q_proj is kept in 4 bits .* set `train\.method: lora`"),
    ],
)
def test_what_four_bits_exclude_is_told_before_loading(bases, options, said):
    pytest.importorskip("bitsandbytes")
    with pytest.raises(UserError, match=said):
        check(bases["biased"], options, method="qlora")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "fields", "options"),
    [
        ("tied", {}, {"use_dora": True, "trainable_token_indices": [290]}),
        ("tied", {}, WHOLE),
        ("untied", {"target_modules": ("q_proj", "embed_tokens", "lm_head")}, {}),
        ("experts", {}, {}),
        ("turned", {}, {}),
    ],
)
def test_an_option_goes_the_whole_road_over_four_bits(bases, tmp_path, base, fields, options):
    pytest.importorskip("bitsandbytes")
    lora, train = LoraSection(r=4, options=options, **fields), TrainSection(method="qlora", precision="fp32")
    arrival = travel(bases[base], lora, train, tmp_path)
    assert arrival.effect > 0.5
    assert arrival.error < 1e-4
    assert arrival.start < 1e-4
    assert not arrival.differences


def check(base, options, method="lora", **fields):
    check_method(TrainSection(method=method), LoraSection(**{"r": 4, "options": options, **fields}), base)

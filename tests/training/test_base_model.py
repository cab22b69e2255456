"""What cannot be trained is known from configs and the tokenizer, in the user's words."""

import json
import shutil

import pytest
from transformers import AutoConfig, Gemma2Config, GptOssConfig, LlamaConfig, Mistral3Config, MistralConfig

from eshop_ray.errors import UserError
from eshop_ray.models.processors import copy_processors
from eshop_ray.training.base_model import check_causal, check_parts
from eshop_ray.training.kernels.attention import check_window
from tests.training.small_models import SHAPES

SMALL = {
    "vocab_size": 600,
    **SHAPES,
}


@pytest.fixture
def make(tiny_model_dir, tmp_path):
    """Return a function that gives the tiny model another config, and its folder."""

    def give(config, **tokenizer):
        folder = shutil.copytree(tiny_model_dir, tmp_path / "base", dirs_exist_ok=True)
        config.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **tokenizer}))
        return folder

    return give


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Gemma2Config(**SMALL), r"a cap on its scores \(`attn_logit_softcapping`\)"),
        (GptOssConfig(**SMALL, num_local_experts=2, num_experts_per_tok=1), "its attention has sinks"),
        (MistralConfig(**SMALL, sliding_window=64), "set `train.max_row_length`, now 128, to 64 or less"),
        (LlamaConfig(**{**SMALL, "vocab_size": 100}), "tokens, and the model knows 100"),
    ],
)
def test_a_base_that_cannot_be_trained_is_told_before_weights_are_loaded(make, config, said):
    with pytest.raises(UserError, match=said):
        check_parts(make(config), 128, "auto")


def test_a_tokenizer_without_an_end_is_told(make):
    with pytest.raises(UserError, match="has no `eos_token`"):
        check_parts(make(LlamaConfig(**SMALL), eos_token=None), 128, "auto")


def test_a_base_as_most_are_passes(make, tiny_model_dir):
    check_parts(tiny_model_dir, 128, "auto")
    check_parts(make(MistralConfig(**SMALL, sliding_window=None)), 128, "auto")


def test_flex_attention_of_a_base_with_dropout_is_told(make):
    folder = make(LlamaConfig(**SMALL, attention_dropout=0.1))
    check_parts(folder, 128, "auto")
    with pytest.raises(UserError, match=r"`train\.attention: flex`: this base's attention has dropout"):
        check_parts(folder, 128, "flex")


def test_a_window_of_a_model_with_pictures_counts(make):
    config = Mistral3Config(text_config=MistralConfig(**SMALL, sliding_window=64))
    folder = make(config)
    with pytest.raises(UserError, match="to 64 or less"):
        check_window(AutoConfig.from_pretrained(folder), 128)


def test_a_kind_that_is_no_language_model_is_told(make):
    with pytest.raises(
        UserError, match="is a `mistral3`, of which Transformers has no causal language model, as it reads"
    ):
        check_causal(make(Mistral3Config(text_config=MistralConfig(**SMALL))))


def test_a_text_part_does_not_take_over_what_reads_pictures(make, tmp_path, caplog):
    base = make(Mistral3Config(text_config=MistralConfig(**SMALL)))
    (base / "processor_config.json").write_text("{}")
    text, whole = tmp_path / "text", tmp_path / "whole"
    MistralConfig(**SMALL).save_pretrained(text)
    copy_processors(base, text)
    assert not (text / "processor_config.json").exists()
    assert "reads text only" in caplog.text
    AutoConfig.from_pretrained(base).save_pretrained(whole)
    copy_processors(base, whole)
    assert (whole / "processor_config.json").exists()

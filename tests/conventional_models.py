"""Conventional models of random weights that are small enough for any test, with tokenizers of their own kinds."""

import torch

COLORS = ["red", "blue", "green", "grey"]
THINGS = ["wool", "scarf", "tent", "bottle"]
WORDS = [
    *COLORS,
    *THINGS,
    "what",
    "text",
    "labels",
    "query",
    "product",
    "size",
    *"1230",
    *".:,a=|",
    "color",
    "material",
]


def write_encoder(folder, with_weights=True, **config):
    """Write a BERT that reads words, and return its folder."""
    from transformers import AutoModel, BertConfig

    tokenizer = build_word_tokenizer()
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.1,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return _write(folder, BertConfig(**{**settings, **config}), tokenizer, AutoModel if with_weights else None)


def write_t5(folder, with_weights=False):
    """Write a T5, by default its config and its tokenizer alone."""
    from transformers import AutoModelForSeq2SeqLM, T5Config

    tokenizer = build_word_tokenizer(ends_texts=True)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return _write(folder, config, tokenizer, AutoModelForSeq2SeqLM if with_weights else None)


def write_bart(folder):
    """Write the config and the tokenizer of a BART."""
    from transformers import BartConfig

    tokenizer = build_word_tokenizer(ends_texts=True)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        dropout=0.0,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )
    return _write(folder, config, tokenizer, None)


def write_gpt2(folder):
    """Write the config and the tokenizer of a GPT-2: byte-level, with no token to pad with and no chat template."""
    from transformers import GPT2Config

    from tests.conftest import train_tokenizer

    tokenizer = train_tokenizer()
    tokenizer.chat_template = None
    tokenizer.pad_token = None
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return _write(folder, config, tokenizer, None)


def build_word_tokenizer(ends_texts=False):
    """Return a tokenizer of BERT's manners, or one that puts an end behind a text, as T5's does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "</s>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if ends_texts:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", vocabulary["</s>"])]
        )
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", **names)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


def _write(folder, config, tokenizer, model_class):
    tokenizer.save_pretrained(folder)
    if model_class is None:
        config.save_pretrained(folder)
    else:
        torch.manual_seed(0)
        model_class.from_config(config).save_pretrained(folder)
    return folder

"""A plain decoder and a hybrid, whose rows take a pass each, go the whole road as the default base does."""

import json

import pyarrow.parquet as pq
import pytest
import torch
import transformers
import yaml
from transformers import AutoModelForCausalLM

from eshop_ray.cli import run_job
from eshop_ray.config import ModelSection, load_config
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.models import fetch_model, load_tokenizer
from eshop_ray.sample_shop.write import write_sample_shop

JOBS = ("prepare_data", "train_lora", "merge_lora", "batch_infer", "evaluate")
SMALL = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.1,
    "tie_word_embeddings": True,
}
GRANITE = {
    "layer_types": ["mamba", "attention"],
    "mamba_n_heads": 8,
    "mamba_d_state": 16,
    "shared_intermediate_size": 128,
    "num_local_experts": 0,
    "num_experts_per_tok": 0,
    "position_embedding_type": "rope",
}
"""Granite 4, without experts. On CPUs with AMX vLLM 0.29 computes Mamba in bf16 only, and LFM2 not at all."""
TASKS = ("ner_tagging", "summarization")
NUM_COMPARED = {"float32": 8, "bfloat16": 1}
"""Tokens of an answer: further on, two ways of rounding may take two ways."""


@pytest.fixture
def make_base(tmp_path):
    """Return a function that writes a base with random weights and the tokenizer of the default base."""

    def make(name, **options):
        tokenizer, folder = load_tokenizer(fetch_model(ModelSection())), tmp_path / name
        ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
        config = getattr(transformers, f"{name}Config")(**{**SMALL, **ids, "vocab_size": len(tokenizer), **options})
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def write_config(tmp_path):
    """Return a function that writes the config of a run of a few rows of the sample shop."""

    def write(base, dtype):
        write_sample_shop(str(tmp_path / "raw"), num_products=60, seed=0)
        sources = [{"format": "queryner", "path": "queries.{split}.conll"}]
        sources += [{"format": "reviews", "path": "review_summaries.{split}.tsv"}]
        config = {
            "name": "shop",
            "run_root": str(tmp_path / "runs"),
            "data": {"root": str(tmp_path / "raw"), "sources": sources, "tasks": list(TASKS), "max_train_rows": 32},
            "model": {"source": str(base)},
            "train": {"precision": "fp32", "learning_rate": 0.01, "global_batch_size": 8},
            "infer": {"models": ["merged"], "max_rows": 4, "cpu_kvcache_gib": 1, "engine_kwargs": {"dtype": dtype}},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        return tmp_path / "config.yaml"

    return write


@pytest.mark.slow  # two engines; tests/training/test_architectures.py trains and merges these and others
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_session", "starts_vllm")
@pytest.mark.parametrize(
    ("name", "options", "dtype", "is_packed"),
    [("Qwen3", {"head_dim": 32}, "float32", True), ("GraniteMoeHybrid", GRANITE, "bfloat16", False)],
    ids=["plain", "hybrid"],
)
def test_from_files_to_scores(make_base, write_config, capsys, name, options, dtype, is_packed):
    base = make_base(name, **options)
    path = write_config(base, dtype)
    for job in JOBS:
        with pytest.raises(SystemExit) as stopped:
            run_job(job, [str(path)])
        assert stopped.value.code == 0, f"{job}: {capsys.readouterr().err[-3000:]}"
    run_dir = load_config(str(path)).run_dir
    history = json.loads((run_dir / "adapter" / "training.json").read_text())
    assert history["packed"] == is_packed
    assert history["losses"][-1] < history["losses"][0]
    assert set(json.loads((run_dir / "metrics.json").read_text())["groups"]) >= {"ner_tagging"}
    (answers,) = (run_dir / "predictions" / "split=dev").glob("*.parquet")
    rows = pq.read_table(answers).to_pylist()
    assert {row["task"] for row in rows} == set(TASKS)
    assert [row["error"] for row in rows] == [None] * len(rows)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(run_dir / "merged", dtype=dtype), load_tokenizer(base)
    for row in (row for row in rows if row["task"] == "summarization"):
        assert row["generated_text"].startswith(generate(model, tokenizer, row, NUM_COMPARED[dtype]))


def generate(model, tokenizer, row, num_tokens):
    """Return the beginning of the answer as Transformers gives it."""
    ids = torch.tensor([tokenize_prompt(tokenizer, row["messages"])])
    options = {"max_new_tokens": num_tokens, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    text = tokenizer.decode(model.generate(ids, **options)[0, ids.shape[1] :], skip_special_tokens=True)
    return text.rstrip("\ufffd")

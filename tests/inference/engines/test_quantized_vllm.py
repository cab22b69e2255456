"""vLLM loads what `quantize` writes, and answers as the same weights do without it.

Activations are bfloat16, which the int8 kernels of all CPUs take: that of a CPU with AMX takes no float32.
"""

import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from eshop_ray.config import InferSection
from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.inference.build import build_engine
from eshop_ray.inference.quantization.write import Quantization, write_quantized
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import PROMPT_SCHEMA, encode

NUM_ROWS = 32


def make_row(index):
    return {
        **dict.fromkeys(PROMPT_SCHEMA.names),
        "id": str(index),
        "task": "generation",
        "messages": [{"role": "user", "content": f"red wool scarf {index * 7919}"}],
        "sampling_params": encode({"temperature": 0.0, "max_tokens": 1, "ignore_eos": True}),
    }


@torch.no_grad()
def rank_tokens(model, tokenizer, row):
    """The texts that may come first, the likeliest at the head; part of a letter is no text, as in vLLM."""
    ids = tokenize_prompt(tokenizer, row["messages"])
    order = model(input_ids=torch.tensor([ids])).logits[0, -1].argsort(descending=True)
    texts = tokenizer.batch_decode(order[:, None], skip_special_tokens=True)
    return [text.replace("\ufffd", "") for text in texts]


@pytest.mark.slow  # an engine for one test; tests/inference/quantization has the arithmetic
def test_first_tokens_are_those_of_the_same_weights(ray_session, starts_vllm, tiny_model_dir, tmp_path):  # noqa: ARG001
    import ray.data

    folder = tmp_path / "quantized"
    write_quantized(Quantization(tiny_model_dir, QuantizeSection(ignore=("*.o_proj",))), folder)
    rows = [make_row(index) for index in range(NUM_ROWS)]
    config = InferSection(cpu_kvcache_gib=1, engine_kwargs={"dtype": "bfloat16"})
    answers = build_engine(config, folder)(ray.data.from_arrow(pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA)))
    found = {row["id"]: row for row in answers.take_all()}
    assert not [row["error"] for row in found.values() if row["error"]]
    dequantized = CompressedTensorsConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=dequantized).bfloat16()
    tokenizer = load_tokenizer(folder)
    ranks = [rank_tokens(model, tokenizer, row).index(found[row["id"]]["generated_text"]) for row in rows]
    assert ranks.count(0) >= 0.75 * NUM_ROWS, ranks
    assert max(ranks) < 5, ranks

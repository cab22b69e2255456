"""vLLM loads what `eshop quantize` writes, and answers as the same weights do without it."""

import json
import time
from pathlib import Path

import torch
import vllm
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.errors import UserError
from eshop_ray.inference.quantization.platform import check_scheme, find_scheme
from eshop_ray.inference.quantization.write import Quantization, write_quantized
from tests.bench.gpu.engine import ask, start
from tests.bench.gpu.models import SMALL, write_model
from tests.bench.gpu.outcome import Absent, OutOfToleranceError

NUM_PROMPTS, NUM_TOKENS = 128, 24
LEAST_EQUAL = 0.5
"""Share of first tokens that are the likeliest by the same weights, whose activations are not quantized."""
WORST_RANK = 20
"""Of a first token by these weights; 0 is the likeliest."""


def measure(job):
    try:
        check_scheme(job["scheme"], job["device"] == "cuda")
    except UserError as error:
        raise Absent(str(error)) from error
    folder = find_quantized(job["scheme"], job["quantized"], Path(job["workdir"]))
    yield "vllm", vllm.__version__
    expected = rank_tokens(folder)
    started = time.perf_counter()
    engine = start(folder, job["device"], enforce_eager=True, dtype="bfloat16")
    yield "start_seconds", time.perf_counter() - started
    params = {"temperature": 0.0, "max_tokens": 1, "ignore_eos": True}
    outputs = ask(engine, [(ids, params) for ids in draw_prompts(folder)])
    first = [output.outputs[0].token_ids[0] for output in outputs]
    ranks = [order.index(token) for order, token in zip(expected, first, strict=True)]
    yield "answers", len(ranks)
    yield "equal_share", ranks.count(0) / len(ranks)
    yield "worst_rank", max(ranks)
    if ranks.count(0) < LEAST_EQUAL * len(ranks) or max(ranks) > WORST_RANK:
        raise OutOfToleranceError(f"first tokens rank {sorted(ranks)} by the same weights")


def find_quantized(scheme, made, workdir):
    """Return the folder of the model: int8 is written here, the others come from where llm-compressor could be had.

    Raises:
        Absent: if there is none.
        OutOfToleranceError: if it is of another scheme.
    """
    folder = workdir / "quantized" if scheme == "w8a8" else Path(made or "", scheme)
    if scheme == "w8a8":
        write_quantized(Quantization(write_model(workdir / "model", SMALL), QuantizeSection()), folder)
    elif not made or not (folder / "config.json").is_file():
        raise Absent(
            f"llm-compressor writes {scheme} in an environment of its own: run `python -m tests.bench.gpu.quantize "
            "FOLDER` where a package index can be reached, and hand the check `--quantized FOLDER`"
        )
    found = find_scheme(json.loads((folder / "config.json").read_text()).get("quantization_config") or {})
    if found != scheme:
        raise OutOfToleranceError(f"{folder} holds {found or 'no scheme of ours'}, not {scheme}")
    return folder


@torch.no_grad()
def rank_tokens(folder):
    """Return, for each prompt, all tokens as the first of an answer, the likeliest at the head, by Transformers."""
    dequantized = CompressedTensorsConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=dequantized).bfloat16()
    logits = model(input_ids=torch.tensor(draw_prompts(folder))).logits[:, -1]
    return logits.argsort(descending=True).tolist()


def draw_prompts(folder):
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    return torch.randint(3, vocabulary, (NUM_PROMPTS, NUM_TOKENS), generator=torch.Generator().manual_seed(0)).tolist()

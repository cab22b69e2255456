"""The benchmark's own side runs: it reaches into the stage, which no other test does."""

import os

import pytest

from eshop_ray.config import InferSection
from eshop_ray.schema import encode
from tests.bench.infer.rows import write_rows
from tests.bench.process import measure

NUM_ROWS = 6


def make_row(index):
    messages = encode([{"role": "user", "content": f"red wool scarf {index * 7919}"}])
    return {
        "task": "generation",
        "messages": messages,
        "sampling_params": encode({"temperature": 0.0, "max_tokens": 4}),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("starts_ray", "starts_vllm")
def test_our_side_answers_all_rows_and_tells_when_it_was_up(tiny_model_dir, tmp_path):
    config = InferSection(compile=False, cpu_kvcache_gib=1)
    write_rows(tmp_path / "rows.jsonl", [make_row(index) for index in range(NUM_ROWS)])
    job = {
        "rows_path": str(tmp_path / "rows.jsonl"),
        "model_dir": str(tiny_model_dir),
        "infer": config.model_dump(mode="json"),
        "num_cpus": 4,
        "threads": os.cpu_count(),
    }
    result = measure("infer.ours", job)
    assert sorted(result["answers"]) == [f"{index:06d}" for index in range(NUM_ROWS)]
    assert result["num_generated_tokens"] > 0
    assert result["start_seconds"] > 0
    assert result["seconds"] > 0

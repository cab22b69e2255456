"""The benchmark's own arithmetic: what its figures are computed from must be right without a quiet machine."""

import os
import signal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from tests.bench.busy import compute_shares, load_cores
from tests.bench.infer.results import merge as merge_infer
from tests.bench.infer.results import render_table as render_infer
from tests.bench.train.flops import count_pack, count_pairs, read_shape
from tests.bench.train.results import check_same_work, compare, compute_overhead, merge, render_table

RANK = 4


def run(speed, memory=1000.0, loss=2.0):
    return {"rows_per_second": speed, "answer_tokens_per_second": 1.0, "peak_mib": memory, "losses": [loss]}


def build_part():
    runs = {"ours": [run(9), run(6), run(100)], "trl_padded": [run(1, 2000)] * 3, "trl_packed": [run(3, 3000)] * 3}
    return {"runs": runs, "vs_trl": compare(runs)}


@pytest.mark.parametrize("num_answers", [1, 5])
def test_products_are_those_that_torch_counts(tiny_model_dir, num_answers):
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    causal_lm = model.get_base_model()
    with FlopCounterMode(display=False) as counter:
        hidden = causal_lm.get_decoder()(input_ids=torch.arange(1, 12)[None]).last_hidden_state[0]
        causal_lm.get_output_embeddings()(hidden[:num_answers]).sum().backward()
    counted = counter.get_flop_counts()["Global"]
    products = sum(value for name, value in counted.items() if str(name) in ("aten.mm", "aten.addmm"))

    shape = read_shape(tiny_model_dir)
    attention = 12 * shape.num_layers * shape.num_heads * shape.head_dim * count_pairs(0, [11])
    assert count_pack(shape, RANK, [(0, [11])], num_answers) - attention == products


def test_pairs_are_those_of_the_mask():
    own = [3, 1]
    lengths = sum(sum(2 + place for place in range(1, row + 1)) for row in own)
    assert count_pairs(2, own) == 1 + 2 + lengths


def test_compares_medians_with_the_better_setting_of_the_peer():
    assert build_part()["vs_trl"] == {"speed": 3.0, "memory": 0.5}


def test_overhead_is_what_the_second_worker_costs():
    assert compute_overhead({"one_worker": [run(11)], "two_workers": [run(10)]}) == pytest.approx(0.1)


def test_sides_that_compute_different_things_are_not_compared():
    with pytest.raises(SystemExit, match="do not compute the same"):
        check_same_work({"ours": [run(1, loss=2.2)], "trl_padded": [run(1, loss=2.0)]})


def test_parts_measured_alone_add_up():
    machine = {"num_threads": 2, "torch": "2"}
    first = merge({}, {"shared_prefix": build_part()}, machine)
    both = merge(first, {"two_workers": {"overhead": 0.05, "runs": {"one_worker": [run(1)]}}}, machine)
    assert first["two_worker_overhead"] is None
    assert (both["vs_trl_shared_prefix"], both["peak_memory_vs_trl"], both["two_worker_overhead"]) == (3.0, 0.5, 0.05)
    assert both["vs_trl_plain"] is None
    assert "| trl_packed | 3 |" in render_table(both)


def build_busy_part():
    """Medians of 8 and 4 rows/s of ours, quiet and busy, and of 10 and 1 of the defaults."""
    ours = [{"quiet": 8, "busy": 4}, {"quiet": 9, "busy": 1}, {"quiet": 2, "busy": 5}]
    runs = {"ours": ours, "defaults": [{"quiet": 10, "busy": 1}]}
    return {"busy": compute_shares(runs), "runs": runs, "num_rows": 9}


def test_shares_of_the_speed_are_of_medians():
    assert build_busy_part()["busy"] == {"busy_share": 0.5, "quiet_share": 0.8}


@pytest.mark.parametrize(
    ("merge_parts", "render"), [(merge, render_table), (merge_infer, render_infer)], ids=["train", "infer"]
)
def test_shares_are_headlines_of_both_benchmarks(merge_parts, render):
    results = merge_parts({}, {"busy": build_busy_part()}, {"num_threads": 2, "torch": "2"})
    assert (results["busy_share"], results["quiet_share"]) == (0.5, 0.8)
    assert "| ours | 8.00 | 4.00 | 3 |" in render(results)
    assert "busy_share" not in render({**merge_parts({}, {}, {})})


def test_every_core_is_busy_until_the_block_ends():
    with load_cores() as loops:
        assert [loop.poll() for loop in loops] == [None] * os.cpu_count()
    assert all(loop.returncode == -signal.SIGKILL for loop in loops)

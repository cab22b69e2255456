"""Where the time of our training step goes: `torch.profiler` over some steps, by group of operations."""

import json
import time
from collections import Counter
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from tests.bench.train.ours import Training

MATRIX = {"aten::mm", "aten::addmm", "aten::linear", "mkldnn::_linear_pointwise"}
ATTENTION = ("scaled_dot_product", "flash_attention", "ScaledDotProduct", "flex_attention")
ATTENTION_OPERATIONS = {"aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::_softmax_backward_data"}
LOSS = ("cross_entropy", "log_softmax", "LogSoftmax", "nll_loss", "NllLoss")
COPIES = {"aten::copy_", "aten::index", "aten::index_select", "aten::cat", "aten::gather", "aten::fill_"}


def run(job):
    """Return the share of wall time of each group, after one warm-up step."""
    training = Training(job)
    training.step(training.build_share(0))
    vocabulary = json.loads(Path(job["model_dir"], "config.json").read_text())["vocab_size"]
    steps = range(1, min(training.sampler.num_steps, 1 + job["num_profiled"]))
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        started = time.perf_counter()
        for number in steps:
            training.step(training.build_share(number))
        seconds = time.perf_counter() - started
    groups = Counter()
    for event in profiler.events():
        groups[classify(event, vocabulary)] += event.self_cpu_time_total / 1e6
    groups["other"] += max(0.0, seconds - sum(groups.values()))
    return {"seconds": seconds, "num_steps": len(steps), "shares": {k: v / seconds for k, v in groups.most_common()}}


def classify(event, vocabulary):
    """Return the group of an operation: by what it is a part of, then by what it is."""
    chain = list(_ancestors(event))
    names = [ancestor.name for ancestor in chain]
    if any(name.startswith("Optimizer.") for name in names):
        return "optimizer"
    if any(word in name for name in names for word in LOSS) or any(_has_size(item, vocabulary) for item in chain):
        return "head and loss"
    if event.name in ATTENTION_OPERATIONS or any(word in name for name in names for word in ATTENTION):
        return "attention"
    if event.name in MATRIX:
        return "matrix products"
    if event.name in COPIES:
        return "copies"
    return "elementwise" if event.name.startswith("aten::") else "other"


def _ancestors(event):
    while event is not None:
        yield event
        event = event.cpu_parent


def _has_size(event, size):
    return any(isinstance(shape, list | tuple) and size in shape for shape in event.input_shapes or ())

"""What all tests share: one Ray and one tiny model, each made once."""

import gc
import json
import logging
import os
import sys
from pathlib import Path

import hypothesis
import pytest

from eshop_ray.schema import PREDICTION_SCHEMA
from eshop_ray.tasks import get_task, list_tasks
from tests import waiting

# How fast a busy machine is, is no test's subject.
UNHURRIED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("brief", UNHURRIED, max_examples=30)
hypothesis.settings.register_profile("thorough", UNHURRIED)
hypothesis.settings.load_profile("brief")

pytest_plugins = ["tests.starting", "tests.fresh_ray", "tests.object_store"]

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.pop("RAY_ADDRESS", None)
os.environ |= {
    "DAFT_RUNNER": "native",  # in a process that is in a Ray, it would take that
    "OMP_NUM_THREADS": "1",  # for tiny products a second thread costs more than it brings
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # Ray starts where a test says so, not by the first call of a function of its
    "RAY_prestart_worker_first_driver": "0",  # as many processes as logical CPUs, most of which nothing uses
    "RAY_num_workers_soft_limit": "16",  # beyond as many as logical CPUs, each would end and be started again
    "RAY_DEDUP_LOGS_SKIP_REGEX": "worker processes have been started",  # jobs leave it out of what they print, too
    "RAY_worker_niceness": "0",  # else workers starve beside anything else that runs here
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",  # a node that is gone is missed after so many of these
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # one that starts slowly would be killed and started again
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # a tiny training is over before the two seconds between looks are
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process for every training, and no machine here is on loan
}

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pytest_collection_finish():
    """What is loaded by now stays: looking through it for garbage is a tenth of the time of the tests without Ray."""
    gc.collect()
    gc.freeze()


def pytest_configure(config):
    """What a test waits for is told while it waits."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def announce(text):
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", file=sys.stderr, flush=True)

    waiting.announce = announce


@pytest.fixture(autouse=True)
def logging_on():
    """A job that ends in trouble silences all logging of its process, which here goes on."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def charts():
    """For tests on Ray that look at charts."""


@pytest.fixture(autouse=True)
def plain_charts(request, monkeypatch):
    """Jobs on Ray draw nothing: that is a third of the time of a small night's driver, and reports have own tests."""
    if request.node.get_closest_marker("ray") and "charts" not in request.fixturenames:
        from eshop_ray.reporting.page import Chart

        monkeypatch.setattr(Chart, "svg", b"<svg/>")


@pytest.fixture
def write_predictions():
    """Write answers to choices whose target is always 1: folder, {group: the option of each row, None for failed}."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(folder: Path, groups: dict[str, list[int | None]]) -> None:
        folder.mkdir(parents=True)
        rows = [
            {
                "id": f"{group}{number:04d}",
                "task": "multiple_choice",
                "group": group,
                "metric": "accuracy",
                "target": "1",
                "prediction": None if answer is None else str(answer),
                "error": "engine: dead" if answer is None else None,
            }
            for group, answers in groups.items()
            for number, answer in enumerate(answers)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), folder / "part-0.parquet")

    return write


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory) -> Path:
    """A Llama of 160,000 random fp32 weights with a ChatML tokenizer: learns by heart, starts at once."""
    from transformers import LlamaConfig

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny", LlamaConfig)


def write_tiny_model(folder: Path, make_config, chat_template=CHAT_TEMPLATE) -> Path:
    """Write a model of random weights of a kind of config, with a tokenizer, and return its folder."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = train_tokenizer()
    tokenizer.chat_template = chat_template
    torch.manual_seed(0)
    config = make_config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_tokenizer():
    """Return a byte-level BPE tokenizer of the tasks' own examples."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tasks = [get_task(name) for name in list_tasks()]
    texts = [task.instruction for task in tasks] + [json.dumps(row) for task in tasks for row in task.examples]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )

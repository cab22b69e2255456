"""The peer: TRL's SFTTrainer on the same ids, padded or packed, with nothing switched on that costs it time."""

import math
import os
import tempfile
from pathlib import Path

from tests.bench.train.clock import StepClock
from tests.bench.train.rows import read_rows

os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp(prefix="bench_datasets"))

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer, pack_dataset

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.models import load_tokenizer


class CountingTrainer(SFTTrainer):
    """SFTTrainer that tells the clock what goes through it."""

    clock: StepClock

    def training_step(self, model, inputs, num_items_in_batch=None):
        is_packed = "position_ids" in inputs
        rows = (inputs["position_ids"] == 0).sum() if is_packed else inputs["input_ids"].shape[0]
        self.clock.add(rows, (inputs["labels"] != -100).sum())
        return super().training_step(model, inputs, num_items_in_batch)


class EndOfStep(TrainerCallback):
    """Stops the clock at each optimizer step."""

    def __init__(self, clock):
        self.clock = clock

    def on_step_end(self, args, state, control, **kwargs):  # noqa: ARG002
        self.clock.end_step()


def run(job):
    """Train on all rows; the first step is the warm-up."""
    with tempfile.TemporaryDirectory() as folder:
        return learn(build_trainer(job, folder))


def build_trainer(job, folder):
    """Return the trainer with its model loaded; it may write into the folder."""
    torch.set_num_threads(job["threads"])
    train, rows = TrainSection(**job["train"]), read_rows(job["rows_path"])
    dataset = build_dataset(rows, train.global_batch_size, is_packed=job["is_packed"])
    num_steps = math.ceil(len(rows) / train.global_batch_size)
    weights = torch.bfloat16 if job["weights"] == "bf16" else torch.float32
    trainer = CountingTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model_dir"], dtype=weights),
        args=SFTConfig(folder, **describe_run(job, train, num_steps, dataset)),
        train_dataset=dataset,
        processing_class=load_tokenizer(Path(job["model_dir"])),
        peft_config=build_lora(LoraSection(**job["lora"])),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def learn(trainer):
    """Make every step, however often asked, and return what the clock counted, with the losses."""
    trainer.clock = StepClock()
    end_of_step = EndOfStep(trainer.clock)
    trainer.add_callback(end_of_step)
    trainer.train()
    trainer.remove_callback(end_of_step)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {**trainer.clock.read(), "losses": losses}


def build_dataset(rows, batch_size, is_packed):
    """Return the rows as SFTTrainer takes them without tokenising anew: `input_ids` and `labels`.

    Padded, the rows of a step are sorted by length: less padding than `group_by_length` reaches, in the same steps.
    """
    if not is_packed:
        steps = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        rows = [row for step in steps for row in sorted(step, key=len, reverse=True)]
    return Dataset.from_list(
        [
            {
                "input_ids": [*row.prompt_ids, *row.answer_ids],
                "labels": [*[-100] * len(row.prompt_ids), *row.answer_ids],
            }
            for row in rows
        ]
    )


def describe_run(job, train, num_steps, dataset):
    """Return the arguments of SFTConfig; packed, as many packs to a step as give the same number of steps."""
    per_step = train.global_batch_size // job["micro_batch"]
    if job["is_packed"]:
        packs = pack_dataset(dataset.select_columns("input_ids"), job["max_length"], "bfd")
        per_step = math.ceil(len(packs) / num_steps)
    return {
        "per_device_train_batch_size": 1 if job["is_packed"] else job["micro_batch"],
        "gradient_accumulation_steps": per_step,
        "packing": job["is_packed"],
        "packing_strategy": "bfd",
        "max_length": job["max_length"] if job["is_packed"] else None,
        "num_train_epochs": 1,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, round(num_steps * train.warmup_share)),
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "bf16": train.precision == "bf16",
        "gradient_checkpointing": train.gradient_checkpointing,
        "train_sampling_strategy": "sequential",
        "use_cpu": not train.use_gpu,
        "dataloader_pin_memory": train.use_gpu,
        "seed": job["seed"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def build_lora(lora):
    """Return the adapter's settings, the same as ours."""
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=modules,
        task_type="CAUSAL_LM",
        **lora.options,
    )

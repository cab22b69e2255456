"""The peer where TRL is not installed: PEFT and a plain loop over padded micro-batches, sorted by length."""

from pathlib import Path

import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.adapter import build_lora_config
from eshop_ray.training.packing.pack import IGNORED
from tests.bench.train.clock import StepClock
from tests.bench.train.rows import read_rows


class PeftLoop:
    """A model with an adapter, all weights but the adapter's in bf16."""

    def __init__(self, job):
        self.train, self.rows = TrainSection(**job["train"]), read_rows(job["rows_path"])
        self.micro_batch = job["micro_batch"]
        self.device = torch.device("cuda" if self.train.use_gpu else "cpu")
        base = AutoModelForCausalLM.from_pretrained(Path(job["model_dir"]), dtype=torch.bfloat16)
        self.model = get_peft_model(base, build_lora_config(LoraSection(**job["lora"]))).to(self.device).train()
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=self.train.learning_rate)

    def step(self, rows):
        """Make one step and return its mean loss per answer token."""
        rows = sorted(rows, key=len, reverse=True)
        num_answers = torch.tensor(sum(len(row.answer_ids) for row in rows), device=self.device)
        total = 0.0
        for start in range(0, len(rows), self.micro_batch):
            batch = pad(rows[start : start + self.micro_batch], self.device)
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = self.model(**batch, num_items_in_batch=num_answers, use_cache=False).loss
            loss.backward()
            total += float(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.train.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total


def pad(rows, device):
    """Return `input_ids`, `attention_mask` and `labels`, (rows, longest row) each."""
    longest = max(map(len, rows))
    filled = [(longest - len(row), [*row.prompt_ids, *row.answer_ids], row) for row in rows]
    columns = {
        "input_ids": [[*ids, *[0] * more] for more, ids, _ in filled],
        "attention_mask": [[*[1] * len(ids), *[0] * more] for more, ids, _ in filled],
        "labels": [[*[IGNORED] * len(row.prompt_ids), *row.answer_ids, *[IGNORED] * more] for more, _, row in filled],
    }
    return {name: torch.tensor(values, device=device) for name, values in columns.items()}


def learn(loop):
    """Make every step and return what the clock counted, with the losses; the first step is the warm-up."""
    clock, losses, size = StepClock(), [], loop.train.global_batch_size
    for start in range(0, len(loop.rows), size):
        rows = loop.rows[start : start + size]
        losses.append(loop.step(rows))
        clock.add(len(rows), sum(len(row.answer_ids) for row in rows))
        clock.end_step()
    return {**clock.read(), "losses": losses}

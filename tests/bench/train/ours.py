"""Our side: the step that a worker of Ray Train makes, in one process. All that knows its interface is here."""

from pathlib import Path

import numpy as np
import torch

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.feed import Microbatches
from eshop_ray.training.learner import build_learner
from eshop_ray.training.learning_rate import cosine_rate
from eshop_ray.training.packing.pack import IGNORED, PREFIX, Pack, build_pack
from eshop_ray.training.packing.prefixes import find_prefixes
from eshop_ray.training.sampler import BatchSampler
from tests.bench.train.clock import StepClock
from tests.bench.train.rows import read_rows


class Training:
    """A model that learns, and its steps in the order of the rows."""

    def __init__(self, job):
        torch.set_num_threads(job["threads"])
        self.train = TrainSection(**job["train"])
        self.rows = read_rows(job["rows_path"])
        self.sampler = build_sampler(self.rows, self.train, job["seed"])
        device = torch.device("cuda" if self.train.use_gpu else "cpu")
        model_dir, lora = Path(job["model_dir"]), LoraSection(**job["lora"])
        self.learner = build_learner(model_dir, self.train, lora, job["seed"], device)

    def build_share(self, number: int) -> Microbatches:
        """Return a step's packs; the rows of a step are the same as the peer's."""
        size = self.train.global_batch_size
        numbers = np.arange(number * size, min((number + 1) * size, len(self.rows)))
        packs = [
            build_pack([self.rows[row] for row in pack], self.sampler.prefixes.groups[pack].tolist())
            for pack in self.sampler.divide(numbers, self.train.pack_length)
        ]
        weight, tokens = self.sampler.sum_weights(numbers), self.sampler.count_tokens(numbers)
        return Microbatches(number, weight, len(numbers), tokens, packs)

    def step(self, share: Microbatches) -> float:
        """Make one optimizer step and return its loss."""
        settings = (self.sampler.num_steps, self.train.learning_rate, self.train.warmup_share)
        return self.learner.step(share, cosine_rate(share.step, *settings))


def run(job):
    """Train on all rows, packing included; the first step is the warm-up."""
    return learn(Training(job))


def learn(training):
    """Make every step and return what the clock counted, with the losses and what the packs held."""
    clock, losses, packs = StepClock(), [], []
    for number in range(training.sampler.num_steps):
        share = training.build_share(number)
        losses.append(training.step(share))
        described = [describe_pack(pack) for pack in share.packs]
        clock.add(share.num_rows, sum(pack["answers"] for pack in described))
        clock.end_step()
        packs += described if number else []
    return {**clock.read(), "losses": losses, "packs": packs}


def build_sampler(rows, train, seed):
    """Return the sampler that a job would make of rows on disk."""
    num_prompt, num_answer = (
        np.array([len(getattr(row, name)) for row in rows]) for name in ("prompt_ids", "answer_ids")
    )

    def read_prompts(numbers):
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(num_prompt[numbers])])
        return np.concatenate([np.array(rows[number].prompt_ids, np.int32) for number in numbers]), offsets

    return BatchSampler(
        rows=np.arange(len(rows)),
        held_out=np.zeros(0, np.int64),
        prefixes=find_prefixes(read_prompts, num_prompt, train.global_batch_size),
        num_prompt=num_prompt,
        num_answer=num_answer,
        num_epochs=1,
        global_batch_size=train.global_batch_size,
        pack_length=train.pack_length,
        loss_weighting="token",
        task_weights=np.ones(len(rows)),
        seed=seed,
    )


def describe_pack(pack: Pack) -> dict:
    """Return `{"groups": [[prefix length, [row lengths]], ...], "answers": tokens with a loss}`."""
    groups = []
    for group in np.unique(pack.group_ids):
        segments = pack.segment_ids[pack.group_ids == group]
        lengths = np.unique(segments[segments != PREFIX], return_counts=True)[1]
        groups.append([int((segments == PREFIX).sum()), lengths.tolist()])
    return {"groups": groups, "answers": int((pack.labels != IGNORED).sum())}

"""Two processes that train a tiny model as replicas and as shards: `sharded_workers.py RANK FOLDER MODEL`."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.checkpoint import collect_state, restore_state, save_checkpoint
from eshop_ray.training.history import Progress
from eshop_ray.training.model import build_model, get_causal_lm
from eshop_ray.training.sharding import build_parallelism

CPU = torch.device("cpu")
PACKS = (((5,), (6, 7, 8)), ((), (9, 10)), ((11, 12), (13, 14)), ((15, 16, 17), (18,)), ((19,), ()))
"""Step -> worker -> seeds of its packs."""
CASES = {
    "lora": {"method": "lora", "precision": "fp32"},
    "lora_bf16": {"method": "lora", "precision": "bf16", "gradient_checkpointing": True},
    "tokens": {"method": "lora", "precision": "fp32"},
    "frozen": {"method": "lora", "precision": "fp32"},
    "full": {"method": "full", "precision": "fp32"},
}
LORA = {"tokens": {"options": {"trainable_token_indices": [5, 6]}}, "frozen": {"freeze_a": True}}
"""Case -> fields of the section `lora`; tokens of tied embeddings are one weight in two places."""
CHANGES = {
    "lora": ("fsdp", "replicate"),
    "tokens": ("replicate", "fsdp"),
    "frozen": ("fsdp", "replicate"),
    "full": ("replicate", "fsdp"),
}
"""Case -> ways of sharing before and after a stop."""
MAX_NORM = 0.05
"""Below every step's norm."""
NUM_TOKENS = 24


@dataclass
class Trail:
    """What training left behind."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)


class Worker:
    """One worker's model."""

    def __init__(self, model_dir, case, sharding, seed=1):
        train = TrainSection(**CASES[case], sharding=sharding)
        self.is_bf16 = train.precision == "bf16"
        self.parallelism = build_parallelism(train)
        model = build_model(model_dir, train, LoraSection(r=4, **LORA.get(case, {})), seed, CPU)
        if seed == 1:
            torch.manual_seed(5)
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.05)
        self.model = self.parallelism.prepare(model, CPU)
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=0.01, eps=1e-3)
        self.trail = Trail()

    def step(self, packs, total):
        """Make one step with this worker's packs, of `total` in all."""
        self.optimizer.zero_grad()
        loss_sum = torch.zeros(())
        num_passes = self.parallelism.count_passes(len(packs))
        for index in range(num_passes):
            self.parallelism.begin_pass(self.model, is_last=index == num_passes - 1)
            loss = self.loss(packs[index]) / total if index < len(packs) else self.loss(1) * 0
            loss.backward()
            loss_sum += loss.detach()
        self.parallelism.sum_gradients(self.trained, loss_sum)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, MAX_NORM)
        self.optimizer.step()
        self.trail.losses.append(loss_sum.item())
        self.trail.norms.append(float(norm))

    def loss(self, seed):
        """Return the mean loss of a random text's second half."""
        ids = torch.randint(3, 500, (1, NUM_TOKENS), generator=torch.Generator().manual_seed(seed))
        places = torch.arange(NUM_TOKENS // 2, NUM_TOKENS)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.is_bf16):
            output = get_causal_lm(self.model)(input_ids=ids, use_cache=False, logits_to_keep=places - 1)
        return torch.nn.functional.cross_entropy(output.logits[0].float(), ids[0, places])

    def count_share(self):
        """Return the share of the model's parameters that this process holds."""
        whole = sum(weight.numel() for weight in self.model.parameters())
        own = sum(
            getattr(weight, "to_local", lambda weight=weight: weight)().numel() for weight in self.model.parameters()
        )
        return own / whole

    def finish(self):
        """Return the trail with the trained weights, which the first worker gets whole."""
        self.trail.weights = collect_state(self.model, self.optimizer)["model"]
        return self.trail


def train_alone(model_dir, case):
    """One worker with the packs of both."""
    worker = Worker(model_dir, case, "replicate")
    for packs in PACKS:
        worker.step([*packs[0], *packs[1]], sum(map(len, packs)))
    return worker.finish()


def train_together(model_dir, case, sharding, rank, folder):
    """Leave the trail and a checkpoint in a folder; return the share of the weights that this worker holds."""
    worker = Worker(model_dir, case, sharding)
    for packs in PACKS:
        worker.step(packs[rank], sum(map(len, packs)))
    trail, state = worker.finish(), collect_state(worker.model, worker.optimizer)
    if rank == 0:
        folder.mkdir()
        save_checkpoint(folder, worker.model, state, Progress())
        torch.save(vars(trail), folder / "trail.pt")
    return worker.count_share()


def change_over(model_dir, case, first, second, rank):
    """Stop after three steps and go on from the state with the other way of sharing."""
    worker = Worker(model_dir, case, first)
    for packs in PACKS[:3]:
        worker.step(packs[rank], sum(map(len, packs)))
    states = [collect_state(worker.model, worker.optimizer)]
    dist.broadcast_object_list(states)
    other = Worker(model_dir, case, second, seed=2)
    restore_state(other.model, other.optimizer, states[0])
    for packs in PACKS[3:]:
        other.step(packs[rank], sum(map(len, packs)))
    other.trail.losses[:0], other.trail.norms[:0] = worker.trail.losses, worker.trail.norms
    return other.finish()


def main(rank, folder, model_dir):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    shares = {}
    for case in CASES:
        for sharding in ("replicate", "fsdp"):
            name = f"{case} {sharding}"
            shares[name] = train_together(model_dir, case, sharding, rank, folder / name)
    for case, ways in CHANGES.items():
        trail = change_over(model_dir, case, *ways, rank)
        if rank == 0:
            (folder / f"{case} from {ways[0]}").mkdir()
            torch.save(vars(trail), folder / f"{case} from {ways[0]}" / "trail.pt")
    (folder / f"shares-{rank}.json").write_text(json.dumps(shares))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

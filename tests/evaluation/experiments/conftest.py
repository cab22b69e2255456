import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from eshop_ray import artifacts
from eshop_ray.config import Config, LoraSection, TrainSection
from eshop_ray.data.prompts import build_prompt
from eshop_ray.data.tokenization import TOKEN_SCHEMA, tokenize_row
from eshop_ray.models import model_digest
from eshop_ray.schema import RECORD_SCHEMA, encode
from eshop_ray.training.model import build_model, save_trained
from eshop_ray.training.tokens import TokenStore, write_block, write_index

COLOURS = ("red", "blue", "green", "grey", "black", "white")
THINGS = ("scarf", "tent", "bottle")
SPLITS = ("train", "validation", "dev")


def build_records():
    """Queries to tag and texts to classify, easy to learn by heart, six rows of a task in each of three splits."""
    for number, (colour, thing) in enumerate((colour, thing) for colour in COLOURS for thing in THINGS):
        tokens = [colour, "wool", thing]
        tags = ["B-color", "B-material", "B-core_product_type"]
        split = SPLITS[number % len(SPLITS)]
        yield split, "ner_tagging", number, {"tokens": tokens}, {"tokens": tokens, "tags": tags}
        yield split, "classification", number, {"text": f"{colour} {thing}", "labels": list(THINGS)}, thing


def build_rows():
    """Yield (split, row of `RECORD_SCHEMA`)."""
    for split, task, number, fields, target in build_records():
        row = {"id": f"{task}-{number:02d}", "task": task, "group": None, "metric": None}
        yield split, {**row, "target": encode(target), "fields": encode(fields)}


def write_records(folder):
    """Write the records as `prepare_data` does."""
    parts = {}
    for split, row in build_rows():
        parts.setdefault((row["task"], split), []).append(row)
    for (task, split), rows in parts.items():
        part = folder / f"task={task}" / f"split={split}"
        part.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), part / "part-00000.parquet")
    artifacts.write_manifest(folder, "records", "inputs", {})


@pytest.fixture
def make_config(tmp_path, tiny_model_dir):
    """Return a function that makes an experiment's config; its run directory holds records of two tasks already."""

    def make(**sections):
        train = {"learning_rate": 0.01, "global_batch_size": 6, "precision": "fp32", "torch_threads": 1}
        config = Config(
            name="experiment",
            run_root=str(tmp_path / "runs"),
            model={"source": str(tiny_model_dir)},
            **{"lora": {"r": 8, "lora_alpha": 16}, **sections, "train": {**train, **sections.get("train", {})}},
        )
        if not config.records_dir.exists():
            write_records(config.records_dir)
        return config

    return make


@pytest.fixture(scope="session")
def token_store(tmp_path_factory, tiny_model_dir):
    """The rows of split `validation` as the tiny model's tokens."""
    folder = tmp_path_factory.mktemp("tokens")
    prompts = [build_prompt(row) for split, row in build_rows() if split == "validation"]
    tokens = [tokenize_row({"error": None, **prompt}, tiny_model_dir, 1024) for prompt in prompts]
    write_index(write_block(pa.Table.from_pylist(tokens, schema=TOKEN_SCHEMA), folder), folder)
    return TokenStore.open(folder)


@pytest.fixture(scope="session")
def make_adapter(tiny_model_dir):
    """Return a function that writes a finished adapter of random weights for the tiny model."""

    def make(folder, seed, **lora):
        lora = LoraSection(**{"r": 4, "lora_alpha": 8, **lora})
        model = build_model(tiny_model_dir, TrainSection(precision="fp32"), lora, seed, torch.device("cpu"))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        save_trained(weights, model, folder)
        artifacts.write_manifest(folder, "adapter", f"seed {seed}", {"base": model_digest(tiny_model_dir)})
        return folder

    return make

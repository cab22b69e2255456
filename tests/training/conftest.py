import pytest

from eshop_ray.config import Config
from eshop_ray.data.prompts import build_prompt
from eshop_ray.data.tokenization import tokenize_answer, tokenize_prompt
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import decode
from eshop_ray.tasks import get_task
from eshop_ray.training import trainer
from eshop_ray.training.packing.pack import TokenRow
from tests.training.runs import encode_records, note_environment, train, write_records

COLOURS = ("red", "blue", "green", "grey")
THINGS = ("scarf", "tent", "bottle")


def build_records():
    """Twelve queries to tag and twelve texts to classify, easy to learn by heart."""
    for colour in COLOURS:
        for thing in THINGS:
            tokens = [colour, "wool", thing]
            tags = ["B-color", "B-material", "B-core_product_type"]
            yield "ner_tagging", {"tokens": tokens}, {"tokens": tokens, "tags": tags}
            yield "classification", {"text": f"{colour} {thing}", "labels": list(THINGS)}, thing


@pytest.fixture(scope="session")
def records():
    """Rows of `RECORD_SCHEMA` of two tasks."""
    return encode_records(build_records())


@pytest.fixture(scope="session")
def token_rows(records, tiny_model_dir):
    """The same as rows to learn from."""
    tokenizer = load_tokenizer(tiny_model_dir)
    rows = []
    for record in records:
        messages = build_prompt(record)["messages"]
        answer = get_task(record["task"]).format_target(decode(record["target"]))
        rows.append(
            TokenRow(
                record["id"],
                record["task"],
                tokenize_prompt(tokenizer, messages),
                tokenize_answer(tokenizer, messages, answer),
            )
        )
    return rows


@pytest.fixture(scope="session")
def make_config(tmp_path_factory, records, tiny_model_dir):
    """Return a function that makes a config whose run directory holds the records already."""

    def make(**train):
        settings = {"learning_rate": 0.01, "global_batch_size": 6, "precision": "fp32", "torch_threads": 1, **train}
        config = Config(
            name="run",
            run_root=str(tmp_path_factory.mktemp("runs")),
            model={"source": str(tiny_model_dir)},
            lora={"r": 8, "lora_alpha": 16},
            train=settings,
        )
        write_records(config.records_dir, {"train": records})
        return config

    return make


@pytest.fixture(scope="session")
def uninterrupted(ray_session, make_config):  # noqa: ARG001 - started first
    """A finished run of one worker: its config, what was counted, and its losses."""
    config = make_config(num_epochs=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train_worker", note_environment())
        return config, *train(config)

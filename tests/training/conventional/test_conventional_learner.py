"""How conventional models learn, in this process: every head, whatever the division of the rows."""

import dataclasses

import pytest
import torch

from eshop_ray.config import ConventionalSection
from eshop_ray.data.conventional import IGNORED
from eshop_ray.data.prompts import PromptSettings, build_prompt
from eshop_ray.models.conventional import HeadSpec, Spec, load_plain_tokenizer, read_spec
from eshop_ray.models.conventional_weights import build_model, load_model
from eshop_ray.schema import encode
from eshop_ray.training.conventional.learner import ConventionalLearner
from eshop_ray.training.conventional.loss import row_losses
from eshop_ray.training.conventional.rows import ModelRow, decode_row, encode_row
from eshop_ray.training.feed import Microbatches
from eshop_ray.training.learner import NotFiniteError
from eshop_ray.training.packing.pack import TokenRow
from tests.conventional_models import write_bart, write_encoder, write_gpt2, write_t5

CPU = torch.device("cpu")
SPEC = Spec(
    "encoder",
    64,
    True,
    ("classification", "multiple_choice", "ner_tagging"),
    (
        HeadSpec("classification_label", "classification", "label", ("scarf", "tent")),
        HeadSpec("multiple_choice_candidates", "multiple_choice", "candidates", ("score",)),
        HeadSpec("ner_tagging_tags", "ner_tagging", "tags", ("B-color", "B-thing", "O")),
    ),
)
RECORDS = [
    ("classification", {"text": "red scarf", "labels": ["scarf", "tent"]}, "scarf"),
    ("classification", {"text": "green tent", "labels": ["scarf", "tent"]}, "tent"),
    ("multiple_choice", {"question": "what", "options": ["red", "tent", "2"]}, 1),
    ("multiple_choice", {"question": "what size", "options": ["tent", "3"]}, 1),
    ("ner_tagging", {"tokens": ["red", "wool"]}, {"tokens": ["red", "wool"], "tags": ["B-color", "O"]}),
    ("ner_tagging", {"tokens": ["a", "tent"]}, {"tokens": ["a", "tent"], "tags": ["O", "B-thing"]}),
]


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("model") / "bert")


def build_row_prompt(number, task, fields, target):
    row = {"id": str(number), "task": task, "group": None, "metric": None}
    prompt = build_prompt(
        {**row, "target": encode(target), "fields": encode(fields)}, PromptSettings(constrained=False)
    )
    return {"error": None, **prompt}


def build_rows(source, spec, records=RECORDS):
    rows = []
    for number, (task, fields, target) in enumerate(records):
        coded = encode_row(build_row_prompt(number, task, fields, target), load_plain_tokenizer(source), spec)
        assert coded["error"] is None, coded
        rows.append(decode_row(TokenRow(str(number), task, coded["prompt_ids"], coded["answer_ids"]), 1.0))
    return rows


def learn(learner, packs, num_steps, rate=0.01):
    rows = [row for pack in packs for row in pack]
    share = Microbatches(0, sum(row.weight for row in rows), len(rows), 0, packs)
    return [learner.step(share, rate) for _ in range(num_steps)]


def test_every_head_learns_by_heart(encoder_dir):
    rows = build_rows(encoder_dir, SPEC)
    learner = ConventionalLearner.build(encoder_dir, ConventionalSection(), SPEC, 0, CPU)
    losses = learn(learner, [rows], 40)
    assert losses[-1] < 0.05 < 0.5 < losses[0]
    measured = learner.measure([rows], list(SPEC.tasks))
    assert max(measured.values()) < 0.05


def test_steps_are_the_same_however_rows_are_dealt(encoder_dir):
    rows = build_rows(encoder_dir, SPEC)
    weighed = [dataclasses.replace(row, weight=1.0 + number) for number, row in enumerate(rows)]
    runs = []
    for packs in ([weighed], [weighed[4:], weighed[:3], weighed[3:4]]):
        learner = ConventionalLearner.build(encoder_dir, ConventionalSection(), SPEC, 0, CPU)
        runs.append(learn(learner, packs, 4))
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)


def test_heads_share_one_encoder_and_are_saved_as_models_of_transformers(encoder_dir, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    rows = build_rows(encoder_dir, SPEC)
    learner = ConventionalLearner.build(encoder_dir, ConventionalSection(), SPEC, 0, CPU)
    trunks = {id(model.base_model) for model in learner.model.models.values()}
    assert len(trunks) == 1
    learn(learner, [rows], 2)
    learner.save(learner.model.state_dict(), learner.model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", read_spec(tmp_path / "saved"))
    tokenizer = load_plain_tokenizer(encoder_dir)
    learner.model.eval()
    for row in rows:
        own, others = (row_losses(model, SPEC, [row], tokenizer, CPU) for model in (learner.model, loaded))
        assert own.tolist() == pytest.approx(others.tolist(), abs=1e-6)
    tagger = AutoModelForTokenClassification.from_pretrained(tmp_path / "saved/heads/ner_tagging_tags")
    assert tagger.config.id2label == {0: "B-color", 1: "B-thing", 2: "O"}
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved/heads/classification_label")


def test_source_weights_are_the_trunks(encoder_dir):
    from transformers import AutoModel

    own = AutoModel.from_pretrained(encoder_dir).state_dict()
    trunk = next(iter(build_model(encoder_dir, SPEC, 5).models.values())).base_model.state_dict()
    assert all(torch.equal(trunk[name], weight) for name, weight in own.items())


def test_loss_of_candidates_is_listwise(encoder_dir):
    row = next(row for row in build_rows(encoder_dir, SPEC) if row.task == "multiple_choice")
    graded = dataclasses.replace(row, labels=[1000, 3000, 0])

    def score(head, **inputs):
        assert head == 1
        return torch.log(torch.tensor([[0.25], [0.75], [1.0]]))[: len(inputs["input_ids"])]

    tokenizer = load_plain_tokenizer(encoder_dir)
    expected = -(0.25 * torch.log(torch.tensor(0.125)) + 0.75 * torch.log(torch.tensor(0.375)))
    assert row_losses(score, SPEC, [graded], tokenizer, CPU).tolist() == pytest.approx([float(expected)])


def test_tags_are_learned_where_words_begin(encoder_dir):
    row = build_rows(encoder_dir, SPEC)[4]
    assert row.labels == [IGNORED, 0, 2, IGNORED]


@pytest.mark.parametrize("write", [write_t5, write_bart, write_gpt2])
def test_models_that_write_learn_from_random_weights(write, tmp_path):
    """The weights are drawn by the seed, and the loss is that of Transformers, row by row."""
    source = write(tmp_path / "source")
    spec = Spec("causal" if write is write_gpt2 else "seq2seq", 128, False, ("classification",))
    rows = build_rows(source, spec, RECORDS[:2])
    learner = ConventionalLearner.build(source, ConventionalSection(), spec, 3, CPU)
    again = ConventionalLearner.build(source, ConventionalSection(), spec, 3, CPU)
    assert learn(learner, [rows], 1) == learn(again, [rows], 1)
    losses = learn(learner, [rows], 60)
    assert losses[-1] < 0.2 * losses[0]
    learner.save(learner.model.state_dict(), learner.model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", read_spec(tmp_path / "saved"))
    learner.model.eval()
    own = learner.measure([rows], ["classification"])["classification"]
    alone = [reference_loss(loaded, spec, row) for row in rows]
    assert own == pytest.approx(sum(alone) / len(alone), rel=1e-4)


def reference_loss(model, spec, row):
    """The loss of Transformers itself for one row, without padding."""
    ids, answer = row.inputs[0], row.labels
    if spec.architecture == "causal":
        inputs = torch.tensor([[*ids, *answer]])
        return float(model(input_ids=inputs, labels=torch.tensor([[*[IGNORED] * len(ids), *answer]])).loss)
    return float(model(input_ids=torch.tensor([ids]), labels=torch.tensor([answer])).loss)


def test_loss_that_is_no_number_names_the_row(encoder_dir):
    learner = ConventionalLearner.build(encoder_dir, ConventionalSection(), SPEC, 0, CPU)
    rows = build_rows(encoder_dir, SPEC)
    bad = dataclasses.replace(rows[2], labels=[0, 0, 0], id="bad")  # gains that add up to nothing
    with pytest.raises(NotFiniteError, match=r"^bad$"):
        learn(learner, [[*rows[:2], bad]], 1)


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (("ner_tagging", {"tokens": ["a", "b"]}, {"tokens": ["a", "b"], "tags": ["O"]}), "1 tags for 2 words"),
        (("ner_tagging", {"tokens": ["red"] * 63}, {"tokens": ["red"] * 63, "tags": ["O"] * 63}), "too_long: "),
        (("multiple_choice", {"question": "q", "options": ["a", "b"]}, 7), "none of the question's options"),
        (("multiple_choice", {"options": ["a", "b"]}, 0), "prompt: KeyError"),
    ],
)
def test_row_that_cannot_be_learned_from_says_why(encoder_dir, record, error):
    task, fields, target = record
    prompt = build_row_prompt(1, task, fields, target)
    assert error in encode_row(prompt, load_plain_tokenizer(encoder_dir), SPEC)["error"]


def test_row_survives_the_store():
    row = ModelRow("7", "multiple_choice", 1, [[1, 2], [3]], [1000, 0], 2.0)
    stored = TokenRow("7", "multiple_choice", [1, 2, 3], [1, 2, 2, 1, 1000, 0])
    assert decode_row(stored, 2.0) == row

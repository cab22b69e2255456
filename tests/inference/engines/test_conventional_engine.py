"""What conventional models answer, in this process: every outcome of a question, and the tags that IOB2 allows."""

import asyncio
import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch

from eshop_ray.config import Config, InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.answer_identity import identify_answers
from eshop_ray.inference.build import build_api_engine, choose_engine
from eshop_ray.inference.dispatch.supervisor import build_probe
from eshop_ray.inference.engines.conventional import TaskForm, check_tasks, warn_of_unseen
from eshop_ray.inference.engines.conventional_actor import ConventionalActor
from eshop_ray.inference.engines.iob2 import find_best_tags
from eshop_ray.inference.requests import Answer, Failure, Request
from eshop_ray.models.conventional import HeadSpec, Spec, load_plain_tokenizer
from eshop_ray.models.conventional_weights import build_model, save_model
from eshop_ray.schema import MESSAGES, encode
from eshop_ray.tasks import get_task
from tests.conventional_models import write_encoder, write_gpt2, write_t5

LABELS = ("B-color", "B-thing", "I-color", "O")
SPEC = Spec(
    "encoder",
    64,
    True,
    ("classification", "ner_tagging", "ranking"),
    (
        HeadSpec("classification_label", "classification", "label", ("scarf", "tent")),
        HeadSpec("ner_tagging_tags", "ner_tagging", "tags", LABELS),
        HeadSpec("ranking_candidates", "ranking", "candidates", ("score",)),
    ),
)


def start(folder, source, spec):
    model = build_model(source, spec, 0)
    save_model(folder, source, spec, model, model.state_dict())
    actor = ConventionalActor(folder, use_gpu=False, num_threads=1)
    asyncio.run(actor.ready())
    return actor


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return start(folder / "saved", write_encoder(folder / "bert"), SPEC)


def ask(actor, *questions):
    requests = [Request(text, {"max_tokens": 4, "temperature": 0.0}, weights=task) for task, text in questions]
    return asyncio.run(actor.answer(requests))


def test_answers_are_what_the_tasks_parsers_read(encoder):
    label, tags, ranking = ask(
        encoder,
        ("classification", "Labels: tent, scarf\nText: red tent"),
        ("ner_tagging", "red wool = scarf"),
        ("ranking", "Query: red\n1. tent\n2. scarf\n3. bottle"),
    )
    assert get_task("classification").parse(label.text) in ("scarf", "tent")
    spans = get_task("ner_tagging").parse(tags.text)
    assert " ".join(text for text, _ in spans) == "red wool = scarf"
    assert sorted(get_task("ranking").parse(ranking.text)) == [1, 2, 3]
    assert [(one.finish_reason, one.num_input_tokens, one.num_generated_tokens) for one in (label, tags)] == [
        ("stop", 4, 0),
        ("stop", 6, 0),
    ]


def test_only_offered_labels_are_given(encoder):
    answers = ask(encoder, *(("classification", f"Labels: {label}\nText: red") for label in ("scarf", "tent")))
    assert [one.text for one in answers] == ["scarf", "tent"]


@pytest.mark.parametrize(
    ("task", "text", "failure"),
    [
        (
            "classification",
            "Labels: mug, cup\nText: red",
            "prompt: none of the labels that are offered was in training",
        ),
        ("ner_tagging", "red " * 70, "too_long: 72 tokens, and the model reads 64"),
        ("ner_tagging", " ", "prompt: there is no word to tag"),
        ("ranking", "Query: red", "prompt: no options are found in the question"),
        ("retrieval", "Q\n0. a\n1. b", "prompt: the model has no head for questions of this kind (candidates)"),
        ("generation", "Write.", "prompt: no head reads it"),
    ],
)
def test_question_that_cannot_be_answered_costs_itself_alone(encoder, task, text, failure):
    first, second = ask(encoder, (task, text), ("classification", "Labels: tent\nText: red"))
    assert isinstance(first, Failure)
    assert first.error == failure
    assert second.text == "tent"


def test_answers_do_not_depend_on_who_is_asked_beside(encoder):
    questions = [
        ("ner_tagging", " ".join(["red", "wool", "tent"][: 1 + number % 3] * (number + 1))) for number in range(9)
    ]
    together = ask(encoder, *questions)
    assert [ask(encoder, question)[0] for question in questions] == together


def test_probe_of_the_supervisor_is_answered(encoder):
    probe = build_probe(Request("red wool", {"max_tokens": 4}, weights="ner_tagging"))
    assert isinstance(asyncio.run(encoder.answer([probe]))[0], Answer)


@pytest.mark.parametrize("write", [write_t5, write_gpt2])
def test_models_that_write(write, tmp_path):
    """Greedy answers are those of Transformers for each question by itself."""
    architecture = "causal" if write is write_gpt2 else "seq2seq"
    source = write(tmp_path / "source")
    actor = start(tmp_path / "saved", source, Spec(architecture, 128, False, ("generation",)))
    questions = [("generation", text) for text in ("red", "red wool scarf tent", "what size")]
    together = ask(actor, *questions)
    assert [ask(actor, question)[0] for question in questions] == together
    assert {one.num_generated_tokens for one in together} <= {1, 2, 3, 4}
    assert all((one.finish_reason == "length") == (one.num_generated_tokens == 4) for one in together)
    answerer, tokenizer = actor._answerer, load_plain_tokenizer(source)
    ids = torch.tensor([answerer._encode(Request("red wool scarf tent", {}), 4)])
    out = answerer.model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    own = out[0, ids.shape[1] if architecture == "causal" else 1 :]
    assert together[1].text == tokenizer.decode(own, skip_special_tokens=True)


def test_best_tags_are_those_of_all_allowed_sequences():
    scores = np.random.default_rng(0).normal(size=(20, 4, len(LABELS)))

    def is_allowed(tags):
        return all(
            not tag.startswith("I-") or (place and tags[place - 1][2:] == tag[2:]) for place, tag in enumerate(tags)
        )

    for one in scores:
        best = max(
            (
                numbers
                for numbers in itertools.product(range(len(LABELS)), repeat=4)
                if is_allowed([LABELS[n] for n in numbers])
            ),
            key=lambda numbers: sum(one[place][number] for place, number in enumerate(numbers)),
        )
        assert find_best_tags(one, LABELS) == [LABELS[number] for number in best]


def test_requests_say_their_task_and_what_it_is_called_by():
    names = ["de_category", "ner_tagging"]
    messages = [{"role": "system", "content": "Do."}, {"role": "user", "content": "red"}]
    rows = [
        {
            "task": name,
            "messages": messages,
            "sampling_params": encode({"max_tokens": 4, "temperature": 0.7}),
            "error": None,
        }
        for name in names
    ]
    schema = pa.schema(
        [("task", pa.string()), ("messages", MESSAGES), ("sampling_params", pa.string()), ("error", pa.string())]
    )
    block = pa.Table.from_pylist(rows, schema=schema)
    tasks = {"de_category": get_task("classification"), "ner_tagging": get_task("ner_tagging")}
    requests = [row.request for row in TaskForm("encoder", tasks).read_rows(block)]
    assert [(one.prompt, one.weights, one.params["temperature"]) for one in requests] == [
        ("red", "classification", 0.0),
        ("red", "ner_tagging", 0.0),
    ]
    written = TaskForm("seq2seq", tasks).read_rows(block)[0].request
    assert (written.prompt, written.params["temperature"]) == ("Do.\nred", 0.7)


@pytest.mark.parametrize(
    ("architecture", "engine"), [("encoder", "encoder"), ("seq2seq", "seq2seq"), ("causal", "seq2seq")]
)
def test_conventional_model_is_answered_by_the_engine_of_its_architecture(architecture, engine):
    config = Config(name="x", conventional={"architecture": architecture}, infer={"engine_kwargs": {"max_num_seqs": 8}})
    own = choose_engine(config, "conventional")
    assert (own.infer.engine, own.infer.engine_kwargs) == (engine, {})
    assert choose_engine(config, "merged") == config
    assert identify_answers(own.infer, own.serve, "digest")["engine"] == engine
    oracle = Config(name="x", infer={"engine": "oracle", "models": ["conventional"]})
    assert choose_engine(oracle, "conventional") == oracle


def test_engine_of_conventional_models_answers_for_no_other():
    assert InferSection(engine="encoder").models == ("conventional",)
    assert InferSection(engine="oracle").models == ("base", "merged")
    with pytest.raises(ValueError, match="answers for the model `conventional`, not for `base`"):
        InferSection(engine="seq2seq", models=("base", "conventional"))
    with pytest.raises(UserError, match="answers for the model `conventional`, not for `merged`"):
        choose_engine(Config(name="x", infer={"engine": "encoder"}), "merged")
    with pytest.raises(UserError, match="does not answer requests to OpenAI's API"):
        build_api_engine(InferSection(engine="encoder"), "folder", ["name"])


def test_tasks_that_were_not_trained_are_refused():
    check_tasks(SPEC, ["ranking"], "data.tasks")
    with pytest.raises(
        UserError, match=r"trained for classification, ner_tagging, ranking, and not for ner: .*enrich\.tasks"
    ):
        check_tasks(SPEC, ["ner", "ranking"], "enrich.tasks")


def test_labels_that_were_not_trained_are_told(caplog):
    counts = {("classification", "label"): {"tent": 5, "mug": 3, "cup": 1}, ("ranking", "candidates"): {"score": 9}}
    warn_of_unseen(SPEC, counts, "split dev")
    assert caplog.messages == [
        "split dev: 2 of the labels of classification were not in training, such as cup, mug; the encoder cannot give "
        "them, which makes 4 rows wrong"
    ]

"""A teacher says what its model says row by row, and one that would teach something else is refused."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eshop_ray.config import TrainSection
from eshop_ray.errors import UserError
from eshop_ray.models.switched import list_held
from eshop_ray.training.distilling.teacher import Teacher, check_teacher, condense, find_teacher, list_taught
from eshop_ray.training.merging.fold import fold_adapter
from eshop_ray.training.packing.pack import build_pack
from tests.training.distilling.conftest import TASKS, merge, save_expert

CPU = torch.device("cpu")
TOP_K = 16
ASKED = [(task, task) for task in TASKS]


@pytest.fixture(scope="module")
def merged_dir(experts, tiny_model_dir, tmp_path_factory):
    """Both experts in one set of weights."""
    return merge(tiny_model_dir, list(experts.values()), tmp_path_factory.mktemp("both") / "merged", method="cat")


def say(model, row):
    """Return the logarithms of all probabilities at the answer tokens of a row, by Transformers."""
    ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1]
    return logits.float().log_softmax(-1)


@pytest.mark.parametrize("kind", ["switched", "merged", "adapter"])
def test_it_says_of_a_pack_what_its_model_says_row_by_row(
    kind, switched_dir, merged_dir, experts, tiny_model_dir, token_rows
):
    folder = {"switched": switched_dir, "merged": merged_dir, "adapter": experts["ner_tagging"]}[kind]
    teacher = Teacher.load(folder, tiny_model_dir, TrainSection(precision="fp32"), CPU)
    for task in ("ner_tagging", "classification", "ner_tagging"):
        expert = folder if kind == "adapter" else experts[task]
        model = fold_adapter(tiny_model_dir, expert) if kind != "merged" else load(merged_dir)
        teacher.switch(task if kind == "switched" else None)
        rows = [row for row in token_rows if row.task == task]
        words, logprobs, places = teacher.ask(build_pack(rows), TOP_K)
        for number, row in enumerate(rows):
            mine = places == number
            compare(words[mine], logprobs[mine], say(model, row), row)


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def compare(words, logprobs, expected, row):
    torch.testing.assert_close(logprobs[:, :-1], expected.gather(1, words), rtol=1e-3, atol=1e-3)
    rest = 1 - expected.gather(1, words).exp().sum(1)
    torch.testing.assert_close(logprobs[:, -1].exp(), rest, rtol=1e-3, atol=1e-4)
    own = torch.tensor(row.answer_ids)
    assert (words == own[:, None]).any(1).all()
    likely = expected.topk(TOP_K - 1, 1).values[:, -1]
    assert (logprobs[:, : TOP_K - 1].min(1).values >= likely - 1e-3).all()


def test_the_right_word_is_kept_however_improbable_it_is():
    scores = torch.tensor([[5.0, 4.0, 3.0, -9.0], [0.0, 1.0, 2.0, 3.0]])
    words, logprobs = condense(scores, torch.tensor([3, 3]), 2)
    assert words.tolist() == [[0, 3], [3, 2]]
    torch.testing.assert_close(logprobs.exp().sum(1), torch.ones(2))
    torch.testing.assert_close(logprobs[:, :2], scores.log_softmax(1).gather(1, words))


def test_a_teacher_that_fits_is_taken(teach, switched_dir, experts, tiny_model_dir):
    check_teacher(teach(switched_dir), tiny_model_dir, ASKED)
    check_teacher(teach(experts["ner_tagging"]), tiny_model_dir, ASKED[1:])
    check_teacher(teach(tiny_model_dir), tiny_model_dir, ASKED)
    assert find_teacher(teach(experts["ner_tagging"])) == experts["ner_tagging"]
    assert list_taught(switched_dir) == list_held(switched_dir) == TASKS


def test_a_teacher_that_was_not_trained_on_a_task_is_refused(teach, switched_dir, experts, tiny_model_dir):
    message = r"was not trained on ner; nearest is ner_tagging, and it has classification, ner_tagging\. Leave"
    with pytest.raises(UserError, match=message):
        check_teacher(teach(switched_dir), tiny_model_dir, [*ASKED, ("ner", "ner")])
    with pytest.raises(UserError, match=r"was not trained on ner_tagging; nearest is classification"):
        check_teacher(teach(experts["classification"]), tiny_model_dir, ASKED)


def test_an_adapter_of_another_base_is_refused(teach, copy_model, tiny_model_dir, tmp_path):
    other = copy_model()
    (other / "more").write_text("another model")
    adapter = save_expert(other, tmp_path / "expert", 3, ["ner_tagging"])
    with pytest.raises(UserError, match=r"`train\.teacher` .*adapter was trained on .*, but `model\.source` is"):
        check_teacher(teach(adapter), tiny_model_dir, ASKED[1:])


def test_another_vocabulary_is_refused(teach, copy_model, tiny_model_dir):
    folder = copy_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["scarf-like"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"`train\.teacher` .*teacher has another vocabulary \(\d+ words\) than"):
        check_teacher(teach(folder), tiny_model_dir, ASKED)


def test_more_scores_than_the_base_has_are_refused(teach, copy_model, tiny_model_dir):
    folder = copy_model()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 64}))
    with pytest.raises(UserError, match="has another vocabulary"):
        check_teacher(teach(folder), tiny_model_dir, ASKED)


def test_another_chat_template_is_refused(teach, copy_model, tiny_model_dir):
    folder = copy_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", "<|im_start|>the ")
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"has another chat template than .*trained \(classification\)"):
        check_teacher(teach(folder), tiny_model_dir, ASKED)


def test_a_quantized_teacher_is_refused(teach, copy_model, tiny_model_dir):
    folder = copy_model()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "compressed-tensors"}})
    )
    with pytest.raises(UserError, match=r"is kept quantized \(compressed-tensors\)"):
        check_teacher(teach(folder), tiny_model_dir, ASKED)


def test_more_words_than_the_vocabulary_has_are_refused(teach, tiny_model_dir):
    with pytest.raises(UserError, match=r"`train\.teacher_top_k` is 512, and the vocabulary has 512 words; set less"):
        check_teacher(teach(tiny_model_dir, teacher_top_k=512), tiny_model_dir, ASKED)


def test_a_place_without_a_model_is_refused(teach, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no config\.json; set `train\.teacher` to a folder with a saved model"):
        find_teacher(teach(tmp_path / "empty"))

"""What conventional models read of a question."""

import pytest

from eshop_ray.data.conventional import (
    TooLongError,
    UnreadableError,
    count_labels,
    divide,
    encode_answer,
    encode_question,
    encode_written,
    find_question,
    pad,
)
from eshop_ray.models.conventional import Spec, load_plain_tokenizer
from eshop_ray.tasks import get_task
from eshop_ray.tasks.heads import Question, find_words
from tests.conventional_models import build_word_tokenizer, write_gpt2


@pytest.fixture(scope="module")
def tokenizer():
    return build_word_tokenizer()


def test_words_are_found_among_the_tokens(tokenizer):
    text = "Red-blue wool, \u200bx"
    encoded = encode_question(tokenizer, "tags", Question(text, words=find_words(text, "[^ ]+")), 64)
    tokens = tokenizer.convert_ids_to_tokens(encoded.inputs[0])
    assert [tokens[place] for place in encoded.places] == ["red", "wool", "[UNK]"]


@pytest.mark.parametrize("kind", ["metaspace", "byte level"])
def test_words_are_found_where_tokens_begin_with_the_blank_before_them(kind):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    space = {"metaspace": "\u2581", "byte level": "\u0120"}[kind]
    vocab = ["[UNK]", "[CLS]", "[SEP]", space, *(mark + word for word in ("red", "wool", "sc") for mark in ("", space))]
    backend = Tokenizer(
        models.WordPiece({word: place for place, word in enumerate([*vocab, "##arf"])}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = (
        pre_tokenizers.Metaspace() if kind == "metaspace" else pre_tokenizers.ByteLevel(add_prefix_space=False)
    )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    text = "red wool scarf red"
    encoded = encode_question(tokenizer, "tags", Question(text, words=find_words(text)), 64)
    tokens = [tokenizer.convert_ids_to_tokens(encoded.inputs[0][place]).strip(space) for place in encoded.places]
    assert tokens == ["red", "wool", "sc", "red"]


def test_word_of_which_the_tokenizer_leaves_nothing_has_no_place():
    from tokenizers import normalizers

    strict = build_word_tokenizer()
    strict.backend_tokenizer.normalizer = normalizers.Replace("\u00ad", "")
    text = "red \u00ad wool"
    encoded = encode_question(strict, "tags", Question(text, words=find_words(text, "[^ ]+")), 64)
    assert encoded.places == (1, -1, 2)


def test_words_that_the_model_would_not_see_are_refused(tokenizer):
    text = "red " * 63
    with pytest.raises(TooLongError, match="65 tokens, and the model reads 64"):
        encode_question(tokenizer, "tags", Question(text, words=find_words(text)), 64)
    with pytest.raises(UnreadableError, match="no word to tag"):
        encode_question(tokenizer, "tags", Question(" "), 64)


def test_text_to_label_loses_its_end(tokenizer):
    encoded = encode_question(tokenizer, "label", Question("red wool scarf tent"), 4)
    assert (tokenizer.decode(encoded.inputs[0]), encoded.is_cut) == ("[CLS] red wool [SEP]", True)


def test_candidates_stand_behind_the_question(tokenizer):
    encoded = encode_question(tokenizer, "candidates", Question("red", candidates=("wool scarf", "tent")), 64)
    assert [tokenizer.decode(ids) for ids in encoded.inputs] == [
        "[CLS] red [SEP] wool scarf [SEP]",
        "[CLS] red [SEP] tent [SEP]",
    ]
    batch = pad(encoded.inputs, tokenizer, "cpu")
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1] * 5 + [0]]
    reference = tokenizer("red", "tent")
    assert reference["token_type_ids"] == batch["token_type_ids"][1][:5].tolist()


def test_padding_comes_first_where_a_model_writes_on(tokenizer):
    assert pad([[7], [8, 9]], tokenizer, "cpu", left=True)["input_ids"].tolist() == [[0, 7], [8, 9]]


def test_questions_that_meet_are_of_one_head_and_length():
    shapes = [(1, 5, 1), (0, 9, 1), (1, 4, 2), (0, 2, 1), (0, 3, 1), (0, 40, 1)]
    batches = list(divide(shapes, 12))
    assert batches == [[3, 4], [1], [5], [2], [0]]
    assert sorted(place for batch in batches for place in batch) == list(range(6))


def test_causal_model_reads_prompt_and_line_end_and_keeps_room_for_the_answer(tmp_path):
    tokenizer = load_plain_tokenizer(write_gpt2(tmp_path / "gpt2"))
    spec = Spec("causal", 16, False, ("generation",))
    ids, is_cut = encode_written(tokenizer, spec, "red", room=4)
    assert (tokenizer.decode(ids), is_cut) == ("red\n", False)
    ids, is_cut = encode_written(tokenizer, spec, "red scarf " * 20, room=4)
    assert (len(ids), is_cut, tokenizer.decode(ids)[-1]) == (12, True, "\n")
    ids, is_cut = encode_written(tokenizer, spec, "red scarf " * 20, room=256)
    assert (len(ids), is_cut, tokenizer.decode(ids)[-1]) == (8, True, "\n")
    answer = encode_answer(tokenizer, spec, "mug")
    assert (tokenizer.decode(answer[:-1]), answer[-1]) == ("mug", tokenizer.eos_token_id)


def test_sequence_to_sequence_model_reads_a_text_with_its_end():
    tokenizer, spec = build_word_tokenizer(ends_texts=True), Spec("seq2seq", 3, False, ("generation",))
    assert tokenizer.decode(encode_written(tokenizer, spec, "red wool")[0]) == "red wool </s>"
    ids, is_cut = encode_written(tokenizer, spec, "red wool scarf")
    assert (tokenizer.decode(ids), is_cut) == ("red wool </s>", True)
    assert tokenizer.decode(encode_answer(tokenizer, spec, "red")) == "red </s>"


def test_question_that_no_head_can_read():
    with pytest.raises(UnreadableError, match="no options"):
        find_question(get_task("ranking"), [{"role": "user", "content": "Rank these."}])


class _Blocks:
    """A dataset of one block, as far as `count_labels` asks for it."""

    def __init__(self, table):
        self.table = table

    def map_batches(self, function, **_):
        return _Blocks(function(self.table))

    def iter_rows(self):
        return iter(self.table.to_pylist())


def test_labels_are_counted_by_rows():
    import pyarrow as pa

    from eshop_ray.data.prompts import PromptSettings, build_prompt
    from eshop_ray.schema import PROMPT_SCHEMA, encode

    def prompt(number, task, fields, target):
        row = {"id": str(number), "task": task, "group": None, "metric": None}
        return build_prompt(
            {**row, "target": encode(target), "fields": encode(fields)}, PromptSettings(constrained=False)
        )

    tags = {"tokens": ["a", "b"], "tags": ["B-x", "B-x"]}
    rows = [
        prompt(0, "ner_tagging", {"tokens": ["a", "b"]}, tags),
        prompt(1, "ner_tagging", {"tokens": ["a", "b"]}, {**tags, "tags": ["B-x"]}),
        prompt(2, "multiple_choice", {"prompt": "Rate it."}, 4),
        prompt(3, "multiple_choice", {"question": "q", "options": ["a", "b"]}, 1),
        prompt(4, "multiple_choice", {}, 1),
    ]
    counts = count_labels(_Blocks(pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA)))
    assert counts == {
        ("ner_tagging", "tags"): {"B-x": 1},
        ("multiple_choice", "label"): {"4": 1},
        ("multiple_choice", "candidates"): {"score": 1},
    }

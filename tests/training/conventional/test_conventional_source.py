"""What a conventional model may start from."""

import pytest

from eshop_ray.config import Config, ConventionalSection
from eshop_ray.errors import UserError
from eshop_ray.models.conventional_weights import describe_source
from eshop_ray.training.conventional.prepare import check_tasks
from eshop_ray.training.conventional.trainer import check_conventional, fingerprint_conventional
from tests.conventional_models import write_bart, write_encoder, write_gpt2, write_t5


@pytest.mark.parametrize(
    ("write", "architecture", "max_length", "pretrained"),
    [
        (write_encoder, "encoder", 64, True),
        (write_t5, "seq2seq", 500, False),
        (write_bart, "seq2seq", 128, False),
        (write_gpt2, "causal", 256, False),
    ],
)
def test_source_that_fits(write, architecture, max_length, pretrained, tmp_path):
    spec = describe_source(write(tmp_path / "source"), architecture, 500)
    assert (spec.max_length, spec.pretrained, spec.architecture) == (max_length, pretrained, architecture)


def test_source_without_weights_is_no_pretrained_one(tmp_path):
    assert not describe_source(write_encoder(tmp_path / "bert", with_weights=False), "encoder", 500).pretrained


@pytest.mark.parametrize(
    ("write", "architecture", "message"),
    [
        (write_t5, "encoder", "t5.*architecture: encoder.*architecture: seq2seq"),
        (write_t5, "causal", "t5.*architecture: causal.*architecture: seq2seq"),
        (write_encoder, "seq2seq", "bert.*architecture: seq2seq.*architecture: encoder"),
        (write_encoder, "causal", "bert.*architecture: causal.*architecture: encoder"),
        (write_gpt2, "encoder", "gpt2.*architecture: encoder.*architecture: causal"),
        (write_bart, "causal", "bart.*architecture: causal.*architecture: seq2seq"),
    ],
)
def test_source_of_another_architecture_is_refused(write, architecture, message, tmp_path):
    with pytest.raises(UserError, match=message):
        describe_source(write(tmp_path / "source"), architecture, 500)


def test_source_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(UserError, match=r"Transformers cannot read .*config\.json"):
        describe_source(tmp_path, "encoder", 500)


def test_task_that_has_to_be_written_is_refused_for_an_encoder(tmp_path):
    with pytest.raises(
        UserError, match=r"answers of generation, summarization have to be written; set it to `seq2seq`"
    ):
        check_tasks("encoder", ("generation", "ner_tagging", "summarization"))
    check_tasks("causal", ("generation", "ner_tagging"))
    config = Config(name="x", conventional={"task_weights": {"nerr": 2}})
    with pytest.raises(UserError, match=r"`conventional\.task_weights`: no task nerr"):
        check_conventional(config, tmp_path, ("ner",))


def test_fingerprint_follows_what_determines_the_model():
    def identify(**settings):
        return fingerprint_conventional(Config(name="x", conventional=settings), "records", "model")

    assert identify() == identify(num_workers=4, checkpoint_steps=7, source="elsewhere", use_gpu=True)
    assert len({identify(), identify(num_epochs=9), identify(architecture="causal"), identify(max_row_length=9)}) == 4
    assert ConventionalSection().num_epochs != 9

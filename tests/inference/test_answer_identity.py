"""What determines an answer is decided once: every setting is on one list, and all who keep answers use them."""

import pytest

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import Config, InferSection, OpenaiSection, ServeSection
from eshop_ray.enrichment.questions import identify_question
from eshop_ray.inference.answer_identity import DECIDING, NOT_DECIDING, identify_answers, identify_examples
from eshop_ray.inference.engines.openai import endpoint
from eshop_ray.inference.engines.vllm_arguments import ANSWER_DEFAULTS, build_arguments
from tests.enrichment.contexts import context_of

DECIDING_ARGUMENTS = {
    "kv_cache_dtype": "fp8",
    "dtype": "float16",
    "quantization": "fp8",
    "max_model_len": 512,
    "seed": 3,
    "an_argument_of_tomorrow": 1,
}


def identify(model="model", serve=None, **infer):
    return identify_answers(InferSection(**infer), ServeSection(**(serve or {})), model)


def test_every_setting_is_known_to_decide_or_not():
    settings = set(InferSection.model_fields)
    assert not DECIDING & NOT_DECIDING
    missing, gone = settings - DECIDING - NOT_DECIDING, (DECIDING | NOT_DECIDING) - settings
    assert not missing, f"does an answer depend on {sorted(missing)}? Say so in answer_identity.py"
    assert not gone, f"no longer a setting of `infer`: {sorted(gone)}"


@pytest.mark.parametrize(("name", "value"), DECIDING_ARGUMENTS.items())
def test_argument_that_changes_answers_asks_again_in_batch_and_in_the_nightly_table(name, value):
    def question(**infer):
        context = context_of(("ner_tagging",), (), fingerprint(identify(**infer)), 100)
        return identify_question(context.templates["ner_tagging"], context)

    assert identify(engine_kwargs={name: value}) != identify()
    assert question(engine_kwargs={name: value}) != question()


def test_speed_alone_keeps_answers():
    fast = {"max_num_seqs": 9, "max_num_batched_tokens": 99, "gpu_memory_utilization": 0.5, "tensor_parallel_size": 2}
    assert identify(batch_size=9, concurrency=3, use_gpu=True, engine_kwargs=fast) == identify()


def test_sampling_and_model_decide():
    assert len({fingerprint(one) for one in (identify(), identify("b"), identify(temperature=1.0))}) == 3
    assert identify(constrained=False) != identify()


def test_deployment_and_pipeline_count_as_one_engine():
    assert identify(engine="serve") == identify()
    assert identify(engine="serve", serve={"engine_kwargs": {"dtype": "float32"}}) != identify()
    stated = {"engine_kwargs": {"max_model_len": 64}}
    assert identify(engine="serve", serve=stated) == identify(**stated)


def test_stating_a_default_changes_nothing():
    assert identify(engine_kwargs=dict(ANSWER_DEFAULTS)) == identify()


def test_arguments_are_ours_where_the_user_states_none():
    arguments = build_arguments({"max_num_seqs": 7}, use_gpu=False, eager=None)
    assert (arguments["max_num_seqs"], arguments["dtype"], arguments["enforce_eager"]) == (7, "bfloat16", None)
    assert arguments["max_num_batched_tokens"] == 512
    assert build_arguments({}, use_gpu=True) == {**ANSWER_DEFAULTS, "enable_prefix_caching": True}


def test_every_setting_of_an_endpoint_is_known_to_decide_or_not():
    decides, leaves = endpoint.DECIDING, endpoint.NOT_DECIDING
    assert not decides & leaves
    assert decides | leaves == set(OpenaiSection.model_fields)


def test_an_endpoint_is_its_address_its_model_and_how_it_is_asked():
    digests = [
        endpoint.digest_endpoint(OpenaiSection(**{"base_url": "http://a/v1", "model": "m", **changed}))
        for changed in ({}, {"model": "n"}, {"base_url": "http://b/v1"}, {"extra_body": {"top_p": 0.5}})
    ]
    assert len(set(digests)) == 4
    assert endpoint.digest_endpoint(OpenaiSection(base_url="http://a/v1", model="m", max_cost=1)) == digests[0]


def test_examples_decide_and_without_them_nothing_changes():
    def identify_shots(records="records", seed=0, rows=None, **few_shot):
        config = Config(name="x", seed=seed, few_shot=few_shot, data={"max_train_rows": rows})
        return identify_examples(config, records)

    assert identify_shots() == identify_shots("others") == []
    four = identify_shots(num_examples=4)
    assert len({fingerprint(one) for one in (
        four,
        identify_shots(num_examples=8),
        identify_shots(num_examples=4, choice="balanced"),
        identify_shots(num_examples=4, choice="similar"),
        identify_shots(num_examples=4, seed=1),
        identify_shots("others", num_examples=4),
    )}) == 6  # fmt: skip
    similar = {"num_examples": 4, "choice": "similar"}
    assert identify_shots(**similar) == identify_shots(**similar, seed=1)
    assert identify_shots(**similar, rows=500) != identify_shots(**similar, rows=500, seed=1)  # it draws the rows

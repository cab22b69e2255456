"""The endpoint answers as OpenAI's does, streaming included, and a batch job gets the engine's own answers of it."""

import json

import pytest
from ray import serve

from eshop_ray.config import Config, ServeSection, load_config
from eshop_ray.inference.engines.serve_app import DIGEST_VARIABLE, build_llm_config
from eshop_ray.jobs import batch_infer, build_instructions, run_batch
from eshop_ray.jobs import serve as serve_job
from eshop_ray.schema import decode
from tests.data.instructions.test_build_instructions import write_shop
from tests.inference.engines.endpoint import FIELDS, check_endpoint, predict, read_answers, write_records, write_run
from tests.processes import free_port


def test_user_settings_win_and_reach_ray_serve(tmp_path):
    config = ServeSection(model_id="shop", engine_kwargs={"max_num_seqs": 8}, deployment_config={"num_replicas": 3})
    built = build_llm_config(config, tmp_path, "digest")
    assert built["engine_kwargs"]["max_num_seqs"] == 8
    assert built["deployment_config"] == {"num_replicas": 3}
    assert built["model_loading_config"] == {"model_id": "shop", "model_source": str(tmp_path)}
    assert built["accelerator_config"] == {"kind": "cpu"}
    assert built["runtime_env"]["env_vars"][DIGEST_VARIABLE] == "digest"


def test_default_deployment_is_bounded():
    deployment = Config(name="x").serve.deployment_config
    assert deployment["max_ongoing_requests"] < 1000
    assert deployment["autoscaling_config"]["target_ongoing_requests"] <= deployment["max_ongoing_requests"]


@pytest.fixture(scope="module")
def served(ray_session, starts_vllm, tiny_model_dir, tmp_path_factory):  # noqa: ARG001
    """The path of a config whose model is served, in the session's Ray."""
    model = {
        "engine_kwargs": {"dtype": "float32", "max_num_seqs": 16, "max_model_len": 2048},
        "cpu_kvcache_gib": 1,
        "port": free_port(),
    }
    path = write_run(tmp_path_factory.mktemp("serve"), tiny_model_dir, serve=model)
    serve_job.deploy(load_config(str(path)))  # test_serve_process.py runs the whole job, to its end
    yield path
    serve.shutdown()


@pytest.mark.slow  # vLLM in Ray Serve; each has a faster test without the other
def test_endpoint_lists_its_model_answers_and_streams(served):
    check_endpoint(f"http://127.0.0.1:{load_config(str(served)).serve.port}/v1")


@pytest.mark.slow  # two whole jobs; the answers of a task address are compared without Ray too
@pytest.mark.usefixtures("warm_vllm")
def test_batch_job_finds_the_model_warm_and_gets_the_engines_own_answers(served, caplog):
    caplog.set_level("INFO")
    run_root = served.parent
    for engine in ("serve", "vllm"):
        write_records(run_root / engine / "records")
        overrides = [f"name={engine}", f"model.merged_dir={run_root / 'shop' / 'merged'}", f"infer.engine={engine}"]
        batch_infer.run(load_config(str(served), [*overrides, "infer.models=[merged]"]))
    assert "deploying" not in caplog.text
    answers = read_answers(run_root, "serve")
    assert len(answers) == 7
    assert answers["classification2"]["error"].startswith("too_long: ")
    assert answers == read_answers(run_root, "vllm")
    port = load_config(str(served)).serve.port
    for task in FIELDS:
        for number, result in enumerate(predict(f"http://127.0.0.1:{port}/v1", task)):
            row = answers[f"{task}{number}"]
            if row["error"]:
                assert result["error"]["code"] == "context_length_exceeded"
            else:
                assert result["prediction"] == decode(row["prediction"])
                assert result["usage"]["completion_tokens"] == row["num_generated_tokens"]
                assert 0 < result["confidence"] <= 1


@pytest.mark.slow  # what an endpoint is told, and what is read in its answers, have fast tests of their own
def test_the_endpoint_asked_as_a_remote_one_gives_the_deployments_answers(served):
    run_root, port = served.parent, load_config(str(served)).serve.port
    remote = [f"openai.base_url=http://127.0.0.1:{port}/v1", "openai.model=eshop", "openai.max_concurrent_requests=4"]
    remote += ["openai.constrained_decoding=structured_outputs"]
    for name, engine in (("by handle", "serve"), ("remote", "openai")):
        write_records(run_root / name / "records")
        overrides = [f"name={name}", f"model.merged_dir={run_root / 'shop' / 'merged'}", f"infer.engine={engine}"]
        batch_infer.run(load_config(str(served), [*overrides, "infer.models=[merged]", *remote]))
    answers, others = read_answers(run_root, "remote"), read_answers(run_root, "by handle")
    assert answers["classification2"]["error"].startswith("too_long: ")
    for rows in (answers, others):
        rows.pop("classification2")
    assert len(answers) == 6
    assert answers == others


@pytest.mark.slow
def test_batch_file_is_answered_by_the_deployment(served, tmp_path):
    chat, user = "/v1/chat/completions", [{"role": "user", "content": "red wool scarf"}]
    greedy = {"model": "shop", "temperature": 0, "max_tokens": 3, "ignore_eos": True}
    requests = {
        "chat": (chat, {**greedy, "messages": user, "logprobs": True, "extra_body": {"a": 1}}),
        "several": (chat, {**greedy, "messages": user, "temperature": 1, "n": 2}),
        "completion": ("/v1/completions", {**greedy, "prompt": "red", "echo": True}),
        "too long": (chat, {**greedy, "messages": [{"role": "user", "content": "wool " * 5000}]}),
        "nothing": (chat, greedy),
        "elsewhere": ("/v1/embeddings", {**greedy, "input": "red"}),
    }
    lines = [{"custom_id": name, "method": "POST", "url": url, "body": body} for name, (url, body) in requests.items()]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    merged = served.parent / "shop" / "merged"
    config = load_config(str(served), ["name=batch", "infer.engine=serve", f"model.source={merged}"])
    run_batch.run(config, str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), served_model_names=["shop"])
    outputs = [tmp_path / "out.jsonl", tmp_path / "out.jsonl.errors.jsonl"]
    answers, errors = ({one["custom_id"]: one["response"]["body"] for one in read_lines(path)} for path in outputs)
    assert answers.keys() == {"chat", "several", "completion"}
    assert len(answers["chat"]["choices"][0]["logprobs"]["content"]) == 3
    assert len(answers["several"]["choices"]) == 2
    assert answers["completion"]["choices"][0]["text"].startswith("red")
    codes = {name: error["error"]["code"] for name, error in errors.items()}
    assert codes == {
        "too long": "context_length_exceeded",
        "nothing": "missing_required_parameter",
        "elsewhere": "invalid_url",
    }


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow  # the route has tests of its own
def test_the_endpoint_teaches_and_every_answer_is_counted(served, tmp_path):
    write_shop(tmp_path)
    port = load_config(str(served)).serve.port
    teacher = {"engine": "openai", "written": {"title_generation": 4}, "max_tokens": 64, "num_shown": 1}
    recipe = {
        "sources": {"shop": {"format": "products", "path": "catalogue.jsonl", "licence": "MIT"}},
        "subtasks": [{"name": "title_generation", "source": "shop"}],
        "teacher": {**teacher, "reasoned": {}, "translated": {"title_generation": 2}, "languages": ["de"]},
    }
    remote = {"base_url": f"http://127.0.0.1:{port}/v1", "model": "eshop", "constrained_decoding": "structured_outputs"}
    values = {"name": "taught", "run_root": str(tmp_path), "data": {"root": str(tmp_path)}}
    config = Config.model_validate({**values, "instructions": recipe, "openai": remote})
    build_instructions.run(config)
    told = json.loads((config.run_dir / "card.json").read_text())["teacher"]
    assert told["num_asked"] == 8 + 4 == told["num_kept"] + sum(told["num_removed"].values())
    assert "the teacher gave no answer" not in told["num_removed"]

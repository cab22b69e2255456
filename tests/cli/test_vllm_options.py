"""Options of `vllm run-batch` on our command line."""

import argparse
import json

import pytest

from eshop_ray.cli import vllm_options
from eshop_ray.cli.vllm_options import rewrite, translate
from eshop_ray.errors import UserError

OWN = {"-i": 1, "-o": 1, "--model": 1, "--served-model-name": 1, "--max-tokens": 1, "--retry-failed": 0}


@pytest.fixture
def parser(monkeypatch):
    """A parser in the place of vLLM's, which takes seconds to import."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, exit_on_error=False)
    parser.add_argument("--max-model-len", "-ml", type=int)
    parser.add_argument("--dtype", choices=["auto", "float32"])
    parser.add_argument("--enforce-eager", action="store_true")
    parser.add_argument("--names", nargs="+")
    monkeypatch.setattr(vllm_options, "build_parser", lambda: parser)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["in", "out", "seed=1"], ["in", "out", "seed=1"]),
        (["--max-model-len", "9", "in", "out"], ["in", "out", "infer.engine_kwargs.max_model_len=9"]),
        (["-ml", "9", "in", "out"], ["in", "out", "infer.engine_kwargs.max_model_len=9"]),
        (["in", "--max-model-len=9", "out"], ["in", "out", "infer.engine_kwargs.max_model_len=9"]),
        (["--enforce-eager", "in", "out"], ["in", "out", "infer.engine_kwargs.enforce_eager=true"]),
        (
            ["-i", "in", "--names", "a", "b", "seed=1", "-o", "out"],
            ["-i", "in", "seed=1", "-o", "out", 'infer.engine_kwargs.names=["a", "b"]'],
        ),
        (
            ["-i", "in", "-o", "out", "--served-model-name", "a", "b", "seed=1"],
            ["-i", "in", "-o", "out", "--served-model-name", "a", "--served-model-name", "b", "seed=1"],
        ),
        (["--served_model_name", "a", "in", "out"], ["--served_model_name", "a", "in", "out"]),
        (["--enable-metrics", "--port", "80", "--url=0", "in", "out"], ["in", "out"]),
        (["--retry-failed", "in", "--model=m", "out"], ["--retry-failed", "in", "--model=m", "out"]),
        (["--help"], ["--help"]),
    ],
)
def test_options_become_settings(parser, words, expected):  # noqa: ARG001
    assert rewrite(words, OWN) == expected


def test_options_that_nobody_knows(parser):  # noqa: ARG001
    with pytest.raises(UserError, match=r"unknown option `--max-modle-len`.* did you mean `--max-model-len`\?"):
        rewrite(["--max-modle-len", "9"], OWN)
    with pytest.raises(UserError, match=r"vLLM refuses its options \(--dtype\): .*float7"):
        rewrite(["in", "--dtype", "float7"], OWN)


def test_values_that_stand_with_their_option(parser):  # noqa: ARG001
    assert translate(["-iin", "-o=out", "seed=1"], OWN) == ["-i", "in", "-o", "out", "seed=1"]


def test_options_without_effect_say_so(caplog):
    assert translate(["--enable-metrics", "--port=80", "in", "out"], OWN) == ["in", "out"]
    assert "--enable-metrics has no effect here" in caplog.text
    assert "--port has no effect here" in caplog.text


def test_values_are_checked_by_vllm_and_stay_plain():
    """With vLLM's own parser."""
    words = ["--max-model-len", "2k", "-tp", "2", "--structured-outputs-config", '{"backend": "xgrammar"}', "in", "out"]
    words += ["--tool-call-parser=hermes", "--no-enable-prefix-caching", "--compilation-config.mode=3"]
    words += ["--default-chat-template-kwargs", '{"a": true}', "--lora-modules", "a=/b", "c=/d", "seed=1"]
    words += ["-O3", "--hf-token", "--chat-template", "\U0001f9e3"]
    files_and_settings = [word.removeprefix("infer.engine_kwargs.") for word in translate(words, OWN)]
    assert files_and_settings[:3] == ["in", "out", "seed=1"]
    settings = {name: json.loads(value) for name, _, value in (word.partition("=") for word in files_and_settings[3:])}
    adapters = settings.pop("lora_modules")
    assert [(one["name"], one["path"]) for one in adapters] == [("a", "/b"), ("c", "/d")]
    assert settings == {
        "max_model_len": 2000,
        "tensor_parallel_size": 2,
        "structured_outputs_config": {"backend": "xgrammar"},
        "tool_call_parser": "hermes",
        "enable_prefix_caching": False,
        "compilation_config": {"mode": 3},
        "default_chat_template_kwargs": {"a": True},
        "optimization_level": "3",
        "hf_token": True,
        "chat_template": "\U0001f9e3",
    }

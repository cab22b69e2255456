"""llm-compressor's environment as data, what fails in it as messages, and its worker against a library that is not it.

That the packages of the lock do install and do quantize is not tested here: it takes a package index and minutes.
"""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import ray
import torch
from packaging.requirements import Requirement
from ray.exceptions import RuntimeEnvSetupError
from ray.runtime_env import RuntimeEnv

from eshop_ray.config import RaySection
from eshop_ray.errors import UserError
from eshop_ray.inference.quantization import environment
from eshop_ray.inference.quantization.compressor import compress
from eshop_ray.inference.quantization.environment import build_runtime_env, read_lock, run_apart
from eshop_ray.jobs.quantize import LOCK

ROWS = [[3, 4, 5], [6, 7]]


def read_versions(path):
    return dict(line.partition(";")[0].strip().split("==") for line in read_lock(path))


def test_lock_pins_only_what_differs_from_ours():
    own = read_versions(LOCK)
    assert own["llmcompressor"]
    for name in ("cpu.txt", "gpu.txt"):
        ours = read_versions(LOCK.with_name(name))
        assert {package: version for package, version in own.items() if ours.get(package) == version} == {}
        assert not {"torch", "ray", "vllm"} & own.keys()
    assert all(str(Requirement(line).specifier).startswith("==") for line in read_lock(LOCK))


def test_ray_takes_the_environment():
    runtime_env = build_runtime_env(read_lock(LOCK))
    pip = RuntimeEnv(**runtime_env)["pip"]
    assert pip["packages"] == list(read_lock(LOCK))
    assert "--no-deps" in pip["pip_install_options"]
    assert pip["pip_check"] is False
    assert int(runtime_env["env_vars"]["OMP_NUM_THREADS"]) >= 1


@pytest.fixture
def remote(monkeypatch):
    """Stand in for Ray: tasks run here, at once, in the "environment" `folder`; `fail` makes a function raise."""
    state = SimpleNamespace(options=[], folder="/nowhere", failures={})

    def build(**options):
        state.options.append(options)

        def wrap(function):
            def call(*arguments):
                if function.__name__ in state.failures:
                    raise state.failures[function.__name__]
                return str(state.folder) if function.__name__ == "_find_environment" else function(*arguments)

            return SimpleNamespace(remote=call)

        return wrap

    monkeypatch.setattr(environment.ray, "remote", build)
    monkeypatch.setattr(environment.ray, "get", lambda value: value)
    here = SimpleNamespace(get_node_id=lambda: "0" * 56)
    monkeypatch.setattr(environment.ray, "get_runtime_context", lambda: here)
    return state


def add(left, right):
    return left + right


def test_function_gets_its_arguments_and_its_gpu(remote):
    assert run_apart(RaySection(), ["a==1"], 1, add, 2, 3) == 5
    assert "num_gpus" not in remote.options[0]
    assert remote.options[1]["num_gpus"] == 1
    assert all(options["runtime_env"]["pip"]["packages"] == ["a==1"] for options in remote.options)


def test_environment_is_removed_where_nobody_else_does_it(remote, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS")
    remote.folder = tmp_path / "runtime_resources" / "pip" / "hash" / "virtualenv"
    remote.folder.mkdir(parents=True)
    run_apart(RaySection(address="auto"), [], 0, add, 2, 3)
    assert remote.folder.is_dir()
    run_apart(RaySection(), [], 0, add, 2, 3)
    assert not remote.folder.exists()
    remote.folder = tmp_path / "virtualenv"
    remote.folder.mkdir()
    run_apart(RaySection(), [], 0, add, 2, 3)
    assert remote.folder.is_dir()


def test_failures_are_told_in_a_line(remote):
    remote.failures["add"] = ray.exceptions.RaySystemError("Traceback\n  File x\nValueError: no such layer\n")
    with pytest.raises(UserError, match=r"^llm-compressor failed: .*ValueError: no such layer"):
        run_apart(RaySection(), ["llmcompressor==1"], 0, add, 2, 3)
    remote.failures["_find_environment"] = RuntimeEnvSetupError("pip\nERROR: No matching distribution")
    with pytest.raises(UserError, match=r"could not make the environment of llm-compressor .*No matching distribution"):
        run_apart(RaySection(), ["llmcompressor==1"], 0, add, 2, 3)


@pytest.fixture
def library(monkeypatch):
    """Stand in for llm-compressor: `calls` keeps what was asked of it."""
    calls = SimpleNamespace(oneshot=None, saved=None, loaded=None)

    class Modifier:
        def __init__(self, **options):
            self.options = options

    class Model:
        def save_pretrained(self, folder, **options):
            calls.saved = (folder, options)

    def load(folder, **options):
        calls.loaded = (folder, options)
        return Model()

    cache = type("IntermediatesCache", (), {"pin_memory": None})
    modules = {
        "llmcompressor": {"oneshot": lambda **options: setattr(calls, "oneshot", options)},
        "llmcompressor.pipelines.cache": {"IntermediatesCache": cache},
        "llmcompressor.modifiers.gptq": {"GPTQModifier": type("GPTQModifier", (Modifier,), {})},
        "llmcompressor.modifiers.quantization": {"QuantizationModifier": type("QuantizationModifier", (Modifier,), {})},
        "llmcompressor.modifiers.transform.awq": {"AWQModifier": type("AWQModifier", (Modifier,), {})},
        "transformers": {"AutoModelForCausalLM": SimpleNamespace(from_pretrained=load)},
        "datasets": {"Dataset": SimpleNamespace(from_dict=dict)},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    calls.cache = cache
    return calls


@pytest.mark.parametrize(
    ("method", "modifiers"),
    [
        ("round", ["QuantizationModifier"]),
        ("gptq", ["GPTQModifier"]),
        ("awq", ["AWQModifier", "QuantizationModifier"]),
    ],
)
def test_worker_asks_for_what_the_recipe_says(library, method, modifiers):
    recipe = {"method": method, "config_groups": {"group_0": {}}, "ignore": ["lm_head"]}
    compress("model", "folder", recipe, ROWS, seed=0)
    built = library.oneshot["recipe"]
    assert [type(modifier).__name__ for modifier in built] == modifiers
    assert built[-1].options == {"config_groups": {"group_0": {}}, "ignore": ["lm_head"]}
    assert library.loaded == ("model", {"dtype": "auto"})
    assert library.saved == ("folder", {"save_compressed": True})


def test_worker_gives_the_rows_as_they_are(library):
    recipe = {"method": "gptq", "config_groups": {}, "ignore": []}
    compress("model", "folder", recipe, ROWS, seed=0)
    assert library.oneshot["dataset"] == {"input_ids": ROWS, "attention_mask": [[1, 1, 1], [1, 1]]}
    assert library.oneshot["num_calibration_samples"] == 2
    assert library.oneshot["max_seq_length"] == 3
    assert library.oneshot["shuffle_calibration_samples"] is False
    compress("model", "folder", {**recipe, "method": "round"}, [], seed=0)
    assert library.oneshot.keys() == {"model", "recipe"}


def test_nothing_is_pinned_without_an_accelerator(library, monkeypatch):
    recipe = {"method": "round", "config_groups": {}, "ignore": []}
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    compress("model", "folder", recipe, [], seed=0)
    assert library.cache.pin_memory is None
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    compress("model", "folder", recipe, [], seed=0)
    assert library.cache().pin_memory(0) is None

"""Options and dates in a model's chat templates, from whatever files these are read."""

import json
import shutil
from datetime import datetime

import pytest

from eshop_ray import artifacts
from eshop_ray.config import Config, ModelSection
from eshop_ray.errors import UserError
from eshop_ray.models import fetch_model, find_model, load_tokenizer, model_digest
from eshop_ray.models.template_text import TODAY, list_option_names, read_options, write_options
from eshop_ray.models.templates import describe_model, read_templates
from tests.chat_templates import GEMMA, GLM4, LLAMA3, QWEN3, R1_DISTILL

MESSAGES = [{"role": "user", "content": "Colour?"}]


@pytest.fixture
def make_model(tiny_model_dir, tmp_path):
    """Return a function that makes a model folder whose templates are in files of its own choice."""

    def make(name="model", **files):
        folder = shutil.copytree(tiny_model_dir, tmp_path / name)
        (folder / "chat_template.jinja").unlink()
        for path, text in files.items():
            file = folder / path.replace("__", "/")
            file = file.with_name(f"{file.name}.jinja")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        load_tokenizer.cache_clear()
        return folder

    return make


@pytest.fixture
def fetch(tmp_path):
    """Return a function that fetches a model with options."""

    def call(source, **options):
        settings = {"source": str(source), "cache_dir": str(tmp_path / "cache"), "template_options": options}
        return fetch_model(ModelSection(**settings))

    return call


def render(folder, **options):
    options = {"tokenize": False, "add_generation_prompt": True, **options}
    return load_tokenizer(folder).apply_chat_template(MESSAGES, **options)


def test_option_is_in_the_template_of_a_folder_of_its_own(make_model, fetch):
    source = make_model(chat_template=QWEN3)
    before = artifacts.hash_files(source)
    folder = fetch(source, enable_thinking=False)
    assert folder != source
    assert render(folder) == render(source, enable_thinking=False) != render(source)
    assert render(folder, enable_thinking=True) == render(source), "a request may say otherwise"
    assert artifacts.hash_files(source) == before
    assert (folder / "model.safetensors").samefile(source / "model.safetensors")
    manifest = artifacts.read_complete(folder, job="fetch_model")
    assert manifest.parents == {"base": model_digest(source)}
    assert manifest.digest == artifacts.digest_dir(folder) == model_digest(folder) != model_digest(source)
    assert fetch(source, enable_thinking=False) == folder
    assert fetch(source, enable_thinking=True) not in (folder, source)
    assert fetch(source) == source


def test_model_is_described_as_the_user_knows_it(make_model, fetch):
    source = make_model(chat_template=QWEN3)
    assert describe_model(source) == str(source)
    options = '{"enable_thinking": false}'
    assert describe_model(fetch(source, enable_thinking=False)) == f"{source} with `model.template_options` {options}"


def test_folder_follows_its_source(make_model, fetch):
    source = make_model(chat_template=QWEN3)
    folder = fetch(source, enable_thinking=False)
    moved = source.rename(source.with_name("moved"))
    assert fetch(moved, enable_thinking=False) == folder
    assert (folder / "config.json").samefile(moved / "config.json")
    (moved / "generation_config.json").write_text("{}")
    assert fetch(moved.rename(source), enable_thinking=False) == folder, "a digest is taken once a process"


def test_option_goes_into_every_template_wherever_it_stands(make_model, fetch):
    templates = {"default": QWEN3, "tool_use": f"tools {QWEN3}"}
    files = make_model("files", chat_template=QWEN3, additional_chat_templates__tool_use=templates["tool_use"])
    listed, single, both = make_model("listed"), make_model("single"), make_model("both", chat_template=QWEN3)
    for folder, stated in {
        listed: [{"name": name, "template": text} for name, text in templates.items()],
        single: QWEN3,
        both: "another",
    }.items():
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": stated}))
    (both / "chat_template.json").write_text(json.dumps({"chat_template": "a processor's"}))
    expected = {name: write_options(text, {"enable_thinking": False}) for name, text in templates.items()}
    for source, names in {files: expected, listed: expected, single: ["default"], both: ["default"]}.items():
        assert set(read_templates(source)) == set(names)
        folder = fetch(source, enable_thinking=False)
        assert read_templates(folder) == {name: expected[name] for name in names}
        assert "chat_template" not in json.loads((folder / "tokenizer_config.json").read_text())
        assert not (folder / "chat_template.json").exists()
        found = load_tokenizer(folder).chat_template
        assert found == (expected if len(names) > 1 else expected["default"])


def test_unknown_option_is_refused_with_those_that_are_known(make_model, fetch):
    with pytest.raises(UserError, match=r"does not read `enable_thinkin`; it reads `enable_thinking`$"):
        fetch(make_model(chat_template=QWEN3), enable_thinkin=False)
    with pytest.raises(UserError, match=r"does not read `messages`; it reads no options$"):
        fetch(make_model("gemma", chat_template=GEMMA), messages=[])
    with pytest.raises(UserError, match=r"does not read `a`; it has no chat template$"):
        fetch(make_model("none"), a=1)
    with pytest.raises(UserError, match=r"the chat template of .*broken cannot be read \(line 1: .*\); mend it"):
        fetch(make_model("broken", chat_template="{% if %}"))


def test_names_of_options():
    assert list_option_names(LLAMA3) == ["date_string"]
    assert list_option_names(GLM4) == ["enable_thinking"]
    assert list_option_names(R1_DISTILL) == list_option_names("{{ bos_token }}{{ range(2) }}") == []
    assert list_option_names(
        "{% generation %}{{ a }}{% endgeneration %}{% for b in c %}{% continue %}{% endfor %}"
    ) == [
        "a",
        "c",
    ]
    assert list_option_names("{% macro m(a) %}{{ a is defined }}{% endmacro %}{% set a = 1 %}{{ m(a) }}") == []
    assert list_option_names("{% if b is not defined %}{% set b = 1 %}{% endif %}{{ b }}") == ["b"]


VALUES = [True, None, 1.5, "", 'a"b\\c', "line\nend", "{% x %} #} 😀", ["a", None], {"a b": {"c": [1, False]}}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_arrive_as_they_are(make_model, fetch, value):
    template = "{{ x | tojson }}"
    assert json.loads(render(fetch(make_model(chat_template=template), x=value))) == value
    assert read_options(write_options(template, {"x": value})) == {"x": value}


@pytest.mark.parametrize("start", ["\n", "  ", "\n\n  {% if true %}", "  {%- if true %}", "{% if true %}\n"])
def test_head_changes_no_white_space(make_model, fetch, start):
    template = f"{start}x{{% endif %}}" if "if" in start else f"{start}x"
    source = make_model(chat_template=f"{template}{{{{ a }}}}")
    assert render(fetch(source, a="")) == render(source)


def test_options_upon_options(make_model, fetch):
    first = fetch(make_model(chat_template="{{ a }}{{ b }}"), a="1", b="2")
    second = fetch(first, a="3")
    assert (render(first), render(second)) == ("12", "32")
    assert read_options(read_templates(second)["default"]) == {"a": "3", "b": "2"}
    assert fetch(second, b="2") == second


def test_date_is_the_same_every_day(make_model, fetch):
    source = make_model(chat_template=LLAMA3)
    assert datetime.now().strftime("Today Date: %d %b %Y") in render(source)
    folder = fetch(source)
    assert "Today Date: 26 Jul 2024" in render(folder)
    assert fetch(folder) == folder
    assert "Today Date: 1 May" in render(fetch(source, date_string="1 May"))
    assert "Today Date: 2 May" in render(folder, date_string="2 May")


@pytest.mark.parametrize("form", ["%d %b %Y", "%Y-%m-%d", "%B %-d, %Y", "%A %H:%M:%S %p", "%j %U %y", "%c", "%x %X"])
def test_date_has_the_form_that_is_asked_for(make_model, fetch, form):
    template = (
        f"{{%- set now = strftime_now('{form}') %}}{{% macro day() %}}{{{{ strftime_now('%a') }}}}{{% endmacro %}}"
    )
    folder = fetch(make_model(chat_template=f"{template}{{{{ now }}}} {{{{ day() }}}}"))
    assert render(folder) == TODAY.strftime(f"{form} %a")


def test_merged_model_is_asked_as_it_was_made(make_model, fetch, tmp_path):
    base = fetch(make_model(chat_template=QWEN3), enable_thinking=False)
    config = Config(name="run", run_root=str(tmp_path), model=ModelSection(cache_dir=str(tmp_path / "cache")))
    merged = shutil.copytree(base, config.run_dir / "merged", ignore=shutil.ignore_patterns("manifest.json"))
    artifacts.write_manifest(merged, "model", "inputs", {})

    def find(**options):
        model = config.model.model_copy(update={"template_options": options})
        return find_model(config.model_copy(update={"model": model}), "merged")

    assert find() == find(enable_thinking=False) == merged
    with pytest.raises(
        UserError, match=r"`model.template_options.enable_thinking` is True, and .* was made with False"
    ):
        find(enable_thinking=True)
    with pytest.raises(
        UserError, match=r"`model.template_options.a` is 1, and .* was made with nothing; train and merge"
    ):
        find(a=1)


def test_merged_model_that_prints_the_day_is_asked_with_one_date(make_model, tmp_path):
    config = Config(name="run", run_root=str(tmp_path), model=ModelSection(cache_dir=str(tmp_path / "cache")))
    merged = config.run_dir / "merged"
    shutil.copytree(make_model(chat_template=LLAMA3), merged)
    artifacts.write_manifest(merged, "model", "inputs", {})
    folder = find_model(config, "merged")
    assert "26 Jul 2024" in render(folder)
    assert artifacts.read_complete(folder, job="merge_lora").parents == {"base": model_digest(merged)}

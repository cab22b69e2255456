"""A page that names what does not exist is told so: page, line, name, and the nearest that does."""

from types import SimpleNamespace

import events
import pytest
from click import ClickException
from config_keys import list_keys
from page_names import KnownNames, Problem

from eshop_ray.config import Config

KNOWN = KnownNames(list(list_keys(Config)), ["train_lora", "enrich_catalog", "serve"])


def find_wrong(text):
    return [problem.name for problem in KNOWN.check_page("page.md", text)]


def test_a_wrong_key_is_named_with_its_line_and_the_nearest_key():
    text = "# Title\n\nSet `train.num_epochs` and `train.lerning_rate`.\n"
    assert KNOWN.check_page("docs/page.md", text) == [
        Problem("docs/page.md", 3, "train.lerning_rate", "train.learning_rate")
    ]


def test_the_message_says_where_and_what_may_be_meant():
    message = str(Problem("docs/page.md", 3, "train.lerning_rate", "train.learning_rate"))
    assert message == "docs/page.md:3: `train.lerning_rate` does not exist; did you mean `train.learning_rate`?"


@pytest.mark.parametrize(
    "text",
    [
        "`infer.batch_sise=64`",
        "`quantize.ignored: ['*.down_proj']`",
        "| `infer.batch_sise` | a table |",
        "```\neshop serve demo infer.batch_sise=64\n```",
        "```\npython -m jobs.serve CONFIG \\\n  'ray.limit={CPU: 8}'\n```",
        "```yaml\ninfer:\n  batch_sise: 64\n```",
        "```yaml\ndata:\n  sources:\n    - {format: catalog, paht: products.csv}\n```",
        "`data.sources.paht`",
    ],
)
def test_wrong_keys_are_found(text):
    assert len(find_wrong(text)) == 1


def test_a_wrong_key_in_yaml_is_told_with_its_own_line():
    (problem,) = KNOWN.check_page("page.md", "text\n\n```yaml\nname: shop\ninfer:\n  batch_sise: 64\n```\n")
    assert (problem.line, problem.name, problem.nearest) == (6, "infer.batch_sise", "infer.batch_size")


@pytest.mark.parametrize(
    "text",
    [
        "infer.batch_sise outside of code",
        "`train.method: full`, `train.num_workers: [2, 8]`, `data.sources`, `data.sources.path`",
        "`infer.engine_kwargs.max_num_seqs` is handed to vLLM",
        "`search.json`, `runs/bench/train.json`, `eshop_ray.data.sources`, `my.train.thing`",
        "`ray.init()` is Python",
        "```\nray.get(x)\nmodel.layers.0\n```",
        "```yaml\napiVersion: ray.io/v1\nkind: RayJob\n```",
        "```python\ntrain.foo.bar\n```",
    ],
)
def test_what_is_no_key_is_left_alone(text):
    assert find_wrong(text) == []


def test_wrong_jobs_are_named_with_the_nearest():
    text = "```\neshop trian-lora CONFIG\npython -m jobs.enrich_catalogue CONFIG\n```\n`eshop serv`"
    problems = KNOWN.check_page("page.md", text)
    assert [(problem.line, problem.name, problem.nearest) for problem in problems] == [
        (2, "eshop trian-lora", "eshop train-lora"),
        (3, "jobs.enrich_catalogue", "jobs.enrich_catalog"),
        (5, "eshop serv", "eshop serve"),
    ]


def test_right_jobs_and_placeholders_are_left_alone():
    assert find_wrong("`eshop train-lora` `eshop --help` `eshop JOB CONFIG` `jobs.serve` `eshop_ray.jobs.NAME`") == []


def test_a_block_that_is_no_yaml_is_told():
    with pytest.raises(ValueError, match=r"page\.md:2: this block is no YAML"):
        KNOWN.check_page("page.md", "```yaml\na: [1\n```")


def build(text):
    """Run what mkdocs calls for a site of one page."""
    events.on_pre_build()
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md", content_string=text))
    markdown = events.on_page_markdown(text, page=page)
    events.on_env(None)
    return markdown


def test_a_page_with_a_wrong_key_fails_the_build():
    with pytest.raises(ClickException) as failure:
        build("# Title\n\nSet `trane.seed`, `train.sharding` and `train.shardng`.\n")
    assert "docs/page.md:3: `train.shardng` does not exist; did you mean `train.sharding`?" in failure.value.message


def test_a_page_gets_its_generated_table():
    assert "| `train.num_epochs` |" in build("# Title\n\n<!-- generated: config -->\n")


def test_a_mark_of_nothing_fails_the_build():
    with pytest.raises(ClickException, match="nothing of this name; there are: config, jobs"):
        build("<!-- generated: konfig -->")

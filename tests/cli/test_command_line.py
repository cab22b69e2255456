"""The command `eshop`: what its help says, what it takes, and what a mistaken command line gets."""

import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from eshop_ray import __version__
from eshop_ray.cli import commands, main, run_job
from eshop_ray.cli.job_table import GROUPS, JOBS, get_job
from eshop_ray.cli.shipped_configs import FOLDER, find_config, list_configs
from eshop_ray.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(job.name for job in JOBS)


@pytest.fixture
def eshop(capsys):
    """Return a function that runs `eshop` in this process and returns its exit status, output and errors."""

    def call(*words):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        return stopped.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def asked(monkeypatch):
    """What jobs would be run with."""
    calls = []
    monkeypatch.setattr(commands, "execute", lambda *words, **more: calls.append((*words, more)))
    return calls


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_is_quick():
    """CPU seconds, so that a busy machine does not matter."""
    code = """
import sys
from eshop_ray.cli import main
try:
    main(["--help"])
finally:
    print("loaded:", sorted({"numpy", "pyarrow", "ray", "torch", "transformers", "vllm"} & set(sys.modules)))
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run_python(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "loaded: []"
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_the_jobs_by_what_they_are_for(eshop, words):
    status, output, _ = eshop(*words)
    assert status == 0
    places = [output.index(f"─ {group} ─") for group in GROUPS]
    assert places == sorted(places)
    for job in JOBS:
        assert job.command in output


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_help_of_a_job_says_what_it_reads_and_writes(eshop, job):
    status, output, _ = eshop(job.command, "--help")
    assert status == 0
    text = " ".join(output.split())
    for part in (job.purpose, f"Reads {job.reads}.", f"Writes {job.writes}."):
        assert part in text


def test_the_table_has_every_job():
    for folder in (ROOT / "eshop_ray" / "jobs", ROOT / "jobs"):
        assert sorted(path.stem for path in folder.glob("[a-z]*.py")) == NAMES
    assert {job.group for job in JOBS} == set(GROUPS)
    assert all(job.purpose.endswith(".") for job in JOBS)


@pytest.mark.parametrize("name", NAMES)
def test_driver_runs_its_own_job(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"jobs/{name}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"jobs.{name}", run_name="__main__")
    assert stopped.value.code == 0
    output = capsys.readouterr().out
    assert f"Usage: python -m jobs.{name} " in output
    assert get_job(name).purpose in " ".join(output.split())


def test_version(eshop):
    assert eshop("--version")[:2] == (0, f"eshop_ray {__version__}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["enrich-catalogue"], "unknown job `enrich-catalogue`; did you mean `enrich-catalog`?"),
        (["trian_lora", "demo"], "unknown job `trian_lora`; did you mean `train-lora`?"),
        (["xyz"], "unknown job `xyz`; did you mean `"),
        (["quantize", "demo", "--shceme=fp8"], "unknown option `--shceme`; did you mean `--scheme`?"),
        (["run-batch", "a", "b", "--max-token", "3"], "unknown option `--max-token`; did you mean `--max-tokens`?"),
        (["evaluate", "demo", "--split=dev"], "Settings are written section.field=value; see `eshop evaluate --help`"),
        (["--versoin"], "unknown option `--versoin`; did you mean `--version`?"),
        (["evaluate"], "Missing argument 'CONFIG'; see `eshop evaluate --help`"),
        (["run-batch", "a"], "Missing argument 'OUT', or option `-o`; see `eshop run-batch --help`"),
        (["run-batch", "-o", "a"], "Missing argument 'IN', or option `-i`; see `eshop run-batch --help`"),
        (
            ["run-batch", "a", "b", "--max-tokens=many"],
            "Invalid value for '--max-tokens': Input should be a valid int",
        ),
        (["evaluate", "demmo"], "config demmo: no such file, and no config of that name comes with the package; did"),
        (["evaluate", "none.yaml"], "config none.yaml: No such file or directory; give the path of a YAML file"),
        (["evaluate", "demo", "infer.modles=[base]"], "unknown key `infer.modles`; did you mean `infer.models`?"),
        (["evaluate", "seed=3"], "CONFIG is missing before seed=3; give a YAML file, or one of demo, enrich,"),
        (["autotune", "demo"], "copy " + str(FOLDER / "demo.yaml")),
    ],
)
def test_mistakes_get_one_line_and_the_nearest_valid_word(eshop, words, message):
    status, output, errors = eshop(*words)
    assert (status, output) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize("name", ["enrich-catalog", "enrich_catalog"])
def test_names_may_be_written_as_the_module_is(eshop, asked, name):
    assert eshop(name, "enrich", "seed=3", "table.uri=s3://shop/a_table")[0] == 0
    assert asked == [(get_job("enrich_catalog"), FOLDER / "enrich.yaml", ["seed=3", "table.uri=s3://shop/a_table"], {})]


def test_arguments_of_jobs_that_have_their_own(eshop, asked, tmp_path):
    own = tmp_path / "own.yaml"
    own.touch()
    for words in (
        ["demo"],
        ["demo", "seed=1", "name=x"],
        ["quantize", "demo", "--scheme", "fp8", "seed=1"],
        ["quantize", "--scheme=fp8", "demo"],
        ["erase", "demo", "--product", "B1", "--product=B2", "seed=1"],
        ["erase", "demo", "--review-user", "anne"],
        ["serve", "demo"],
        ["serve", "demo", "--write", "serve.yaml", "serve.use_gpu=true"],
        ["autotune", str(own), "seed=1"],
        ["autotune", "demo", "autotune.write=false"],
    ):
        assert eshop(*words)[0] == 0
    demo = FOLDER / "demo.yaml"
    assert [(job.name, *rest) for job, *rest in asked] == [
        ("demo", demo, [], {}),
        ("demo", demo, ["seed=1", "name=x"], {}),
        ("quantize", demo, ["seed=1", "quantize.scheme=fp8"], {}),
        ("quantize", demo, ["quantize.scheme=fp8"], {}),
        ("erase", demo, ["seed=1"], {"products": ["B1", "B2"], "review_users": []}),
        ("erase", demo, [], {"products": [], "review_users": ["anne"]}),
        ("serve", demo, [], {"write": None}),
        ("serve", demo, ["serve.use_gpu=true"], {"write": Path("serve.yaml")}),
        ("autotune", own, ["seed=1"], {"path": own}),
        ("autotune", demo, ["autotune.write=false"], {"path": demo}),
    ]


def test_arguments_of_a_batch(eshop, asked):
    assert eshop("run-batch", "in.jsonl", "out.jsonl")[0] == 0
    options = ["--model", "yes", "--served-model-name=a", "--served_model_name", "b", "--errors=e", "--max-tokens", "8"]
    assert eshop("run-batch", *options, "s3://a/in", "out", "seed=1", "--config=demo")[0] == 0
    plain, full = asked
    assert plain[1:] == (FOLDER / "run_batch.yaml", [], {"source": "in.jsonl", "output": "out.jsonl"})
    assert full[1:] == (
        FOLDER / "demo.yaml",
        ["seed=1", 'model.source="yes"'],
        {
            "source": "s3://a/in",
            "output": "out",
            "errors": Path("e"),
            "served_model_names": ["a", "b"],
            "max_tokens": 8,
        },
    )


def test_exceptions_of_a_job_are_not_touched(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "execute", fail)
    with pytest.raises(ZeroDivisionError):
        run_job("evaluate", ["demo"])


def test_ctrl_c_is_one_line_and_its_own_status(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "execute", interrupt)
    with pytest.raises(SystemExit) as stopped:
        run_job("evaluate", ["demo"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_wins_over_a_shipped_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("demo") == FOLDER / "demo.yaml"
    assert find_config("./demo") == Path("demo")
    Path("demo").touch()
    assert find_config("demo") == Path("demo")
    with pytest.raises(UserError, match="did you mean `queryner`"):
        find_config("queryne")
    assert list_configs() == ["demo", "enrich", "eshop_instruct", "matrix", "queryner", "run_batch", "strategies"]


@pytest.mark.parametrize(
    ("package", "words", "line"),
    [
        ("typer", "['--help']", "pip install 'eshop_ray[cpu]'"),
        ("pydantic", "['prepare-data', 'demo']", "pip install 'eshop_ray[cpu]'"),
        ("ray", "['prepare-data', 'demo']", "pip install 'eshop_ray[cpu]'"),
        ("vllm", "['batch-infer', 'demo']", "(`gpu` instead of `cpu` on NVIDIA GPUs)"),
    ],
)
def test_what_is_missing_is_named_with_the_line_to_run(package, words, line, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules[{package!r}] = None\n"
    code += f"from eshop_ray.cli import main\nimport os\nos.chdir({str(tmp_path)!r})\nmain({words})"
    result = run_python(code)
    assert (result.returncode, result.stdout) == (2, "")
    (error,) = result.stderr.splitlines()
    assert error.startswith(f"error: the package `{package}` is missing; run `")
    assert line in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "number", "found"), [("eshop enr", "1", "enrich-catalog"), ("eshop evaluate q", "2", "queryner")]
)
def test_completion_knows_jobs_and_shipped_configs(eshop, monkeypatch, words, number, found):
    for name, value in {"_ESHOP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": number}.items():
        monkeypatch.setenv(name, value)
    status, output, _ = eshop()
    assert (status, output.split()) == (0, [found])

"""The arguments of each job on a command line. A command returns what is to be done, and typer does no more than that.

The job runs after typer is done, so that its exceptions and Ctrl-C are Python's own.
"""

import importlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from eshop_ray.cli.execution import execute
from eshop_ray.cli.job_table import Job
from eshop_ray.cli.shipped_configs import find_config, is_setting, list_configs
from eshop_ray.errors import UserError

Action = Callable[[], None]
Command = Callable[..., Action]


def _complete_config(incomplete: str) -> list[str]:
    return [name for name in list_configs() if name.startswith(incomplete)]


ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="YAML file of the experiment, or a config that comes with the package: " + ", ".join(list_configs()),
        autocompletion=_complete_config,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="section.field=value", help="Settings that win over the file.", show_default=False),
]


def build_command(job: Job) -> Command:
    """Return the function from which typer reads the job's arguments."""
    special = {
        "autotune": _build_autotune,
        "compare": _build_compare,
        "demo": _build_demo,
        "erase": _build_erase,
        "inspect": _build_inspect,
        "make_key": _build_make_key,
        "quantize": _build_quantize,
        "rollback": _build_rollback,
        "run_batch": _build_batch,
        "serve": _build_serve,
        "verify": _build_verify,
    }
    return special.get(job.name, _build_usual)(job)


def _build_usual(job: Job) -> Command:
    def command(config: ConfigArgument, overrides: Overrides = None) -> Action:
        return partial(execute, job, find_config(config), overrides or [])

    return command


def _build_demo(job: Job) -> Command:
    def command(config: ConfigArgument = "demo", overrides: Overrides = None) -> Action:
        if is_setting(config):
            return partial(execute, job, find_config("demo"), [config, *(overrides or [])])
        return partial(execute, job, find_config(config), overrides or [])

    return command


def _build_inspect(job: Job) -> Command:
    def command(
        path: Annotated[
            str, typer.Argument(metavar="PATH", help="A file, a folder, or a pattern such as `shop/*.csv`.")
        ],
        settings: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="key=value",
                help="Settings of `catalog`, e.g. format=shopify or encoding=cp1252.",
                show_default=False,
            ),
        ] = None,
    ) -> Action:
        return partial(_run_inspect, job, path, settings or [])

    return command


def _run_inspect(job: Job, path: str, settings: list[str]) -> None:
    importlib.import_module(job.module).run(path, settings)


def _build_make_key(job: Job) -> Command:
    def command(
        key_id: Annotated[str, typer.Argument(metavar="ID", help="Names the key in logs, e.g. search-team.")],
        requests_per_minute: Annotated[
            int | None, typer.Option(help="Requests that it may send in any 60 seconds.", show_default="no limit")
        ] = None,
        tokens_per_day: Annotated[
            int | None, typer.Option(help="Tokens read and written in a day of UTC.", show_default="no limit")
        ] = None,
        note: Annotated[str, typer.Option(help="For people.")] = "",
    ) -> Action:
        limits = {"requests_per_minute": requests_per_minute, "tokens_per_day": tokens_per_day, "note": note}
        return partial(_run_make_key, job, key_id, **limits)

    return command


def _run_make_key(job: Job, key_id: str, **limits: int | str | None) -> None:
    importlib.import_module(job.module).run(key_id, **limits)


def _build_compare(job: Job) -> Command:
    def command(
        first: Annotated[
            str,
            typer.Argument(metavar="FIRST", help="Run directory, or folder of predictions, of what is there today."),
        ],
        second: Annotated[str, typer.Argument(metavar="SECOND", help="The same of what may replace it.")],
        out: Annotated[str, typer.Option(metavar="FOLDER", help="Where the report is written.")] = "comparison",
        split: Annotated[
            str | None, typer.Option(metavar="NAME", help="Split that both answered, where there are several.")
        ] = None,
        gate: Annotated[
            str | None,
            typer.Option(metavar="FILE", help="YAML file that says how much may be lost; exit status 4 where more is."),
        ] = None,
    ) -> Action:
        return partial(_run_compare, job, first, second, out=out, split=split, gate=gate)

    return command


def _run_compare(job: Job, first: str, second: str, **options: str | None) -> None:
    importlib.import_module(job.module).run(first, second, **options)


def _build_quantize(job: Job) -> Command:
    def command(
        config: ConfigArgument,
        overrides: Overrides = None,
        scheme: Annotated[str | None, typer.Option(help="Short for `quantize.scheme=NAME`.", metavar="NAME")] = None,
    ) -> Action:
        settings = [*(overrides or []), *([f"quantize.scheme={scheme}"] if scheme else [])]
        return partial(execute, job, find_config(config), settings)

    return command


def _build_autotune(job: Job) -> Command:
    def command(config: ConfigArgument, overrides: Overrides = None) -> Action:
        path = find_config(config)
        if str(path) != config and "autotune.write=false" not in (overrides or []):
            raise UserError(
                f"config {config} comes with the package, and autotune writes into its config; copy {path} to a file "
                "of your own and name that, or add `autotune.write=false`"
            )
        return partial(execute, job, path, overrides or [], path=path)

    return command


def _build_rollback(job: Job) -> Command:
    def command(
        config: ConfigArgument,
        to: Annotated[
            str, typer.Option(metavar="RUN", help="Id of the night, as its report and the table's `run_id` name it.")
        ],
        overrides: Overrides = None,
    ) -> Action:
        return partial(execute, job, find_config(config), overrides or [], to=to)

    return command


def _build_erase(job: Job) -> Command:
    def command(
        config: ConfigArgument,
        product: Annotated[
            list[str] | None,
            typer.Option(metavar="ID", help="Id of a product, as the catalogue writes it; may be given again."),
        ] = None,
        review_user: Annotated[
            list[str] | None,
            typer.Option(metavar="ID", help="Id of a user, as the reviews write it; may be given again."),
        ] = None,
        overrides: Overrides = None,
    ) -> Action:
        arguments = {"products": product or [], "review_users": review_user or []}
        return partial(execute, job, find_config(config), overrides or [], **arguments)

    return command


def _build_verify(job: Job) -> Command:
    def command(
        config: ConfigArgument,
        overrides: Overrides = None,
        repair: Annotated[
            bool,
            typer.Option("--repair", help="Take what is damaged out of both tables; the next night asks it again."),
        ] = False,
    ) -> Action:
        return partial(execute, job, find_config(config), overrides or [], repairs=repair)

    return command


def _build_serve(job: Job) -> Command:
    def command(
        config: ConfigArgument,
        overrides: Overrides = None,
        write: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help="Start nothing, and write the endpoint as YAML for `serve deploy` and KubeRay's RayService.",
                show_default=False,
            ),
        ] = None,
    ) -> Action:
        return partial(execute, job, find_config(config), overrides or [], write=write)

    return command


def _build_batch(job: Job) -> Command:
    def command(
        files: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="IN OUT [section.field=value]...",
                help="Requests, a JSON object a line: local, a pipe, s3://, gs:// or https://. Where answers are "
                "added, and what stands there is not asked again; a pipe or https:// gets all at the end. Settings win "
                "over the config. Options of `vllm run-batch` that are not named below become settings of the engine.",
                show_default=False,
            ),
        ] = None,
        input_file: Annotated[
            str | None, typer.Option("-i", "--input-file", help="IN, as `vllm run-batch` writes it.")
        ] = None,
        output_file: Annotated[
            str | None, typer.Option("-o", "--output-file", help="OUT, as `vllm run-batch` writes it.")
        ] = None,
        errors: Annotated[
            Path | None, typer.Option(help="Where failures are added; OUT.errors.jsonl unless named.")
        ] = None,
        config: Annotated[
            str, typer.Option(help="Settings of model, engine and Ray: a YAML file.", autocompletion=_complete_config)
        ] = "run_batch",
        model: Annotated[str | None, typer.Option(help="Folder or name of the model: `model.source`.")] = None,
        served_model_name: Annotated[
            list[str] | None,
            typer.Option(help="What `model` of a request may be; may be given again; --model unless named."),
        ] = None,
        max_tokens: Annotated[
            int | None,
            typer.Option(
                help="Most tokens of an answer, for requests that do not say; as vLLM unless named.", show_default=False
            ),
        ] = None,
        max_failed_share: Annotated[
            float | None,
            typer.Option(help="Share of failures above which the exit status is 2; 0.5 unless named.", min=0, max=1),
        ] = None,
        retry_failed: Annotated[
            bool, typer.Option("--retry-failed", help="Ask again what failed in an earlier run.")
        ] = False,
        output_tmp_dir: Annotated[
            Path | None,
            typer.Option(help="Where results are kept until all are sent to an OUT that cannot be added to."),
        ] = None,
    ) -> Action:
        source, output, overrides = _split_files(files or [], input_file, output_file)
        settings = [*overrides, *([f"model.source={json.dumps(model)}"] if model else [])]
        arguments = {
            "source": source,
            "output": output,
            "errors": errors,
            "served_model_names": served_model_name,
            "max_tokens": max_tokens,
            "max_failed_share": max_failed_share,
            "retry_failed": retry_failed or None,
            "output_tmp_dir": output_tmp_dir,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        return partial(execute, job, find_config(config), settings, **given)

    return command


def _split_files(words: list[str], source: str | None, output: str | None) -> tuple[str, str, list[str]]:
    """Return input, output and settings, wherever the first two stand.

    Raises:
        UserError: if one of them is missing.
    """
    left = list(words)
    source = source or (left.pop(0) if left and not is_setting(left[0]) else None)
    output = output or (left.pop(0) if left and not is_setting(left[0]) else None)
    for name, option, value in (("IN", "-i", source), ("OUT", "-o", output)):
        if value is None:
            raise UserError(f"Missing argument '{name}', or option `{option}`; see `eshop run-batch --help`")
    assert source is not None
    assert output is not None
    return source, output, left

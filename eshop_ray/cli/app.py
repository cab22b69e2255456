"""The command `eshop`: its sub-commands in groups, and what a mistaken command line gets."""

import difflib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from eshop_ray import __version__
from eshop_ray.cli.commands import build_command
from eshop_ray.cli.execution import fail
from eshop_ray.cli.job_table import GROUPS, JOBS, Job, get_job
from eshop_ray.errors import UserError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `eshop`; without arguments it shows its help."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    _run(build_group(), words, "eshop")


def run_job(name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one job on a command line without its name, as `python -m jobs.NAME` does."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _run(build_group().commands[get_job(name).command], words, f"python -m jobs.{name}")


def build_group() -> TyperGroup:
    """Return the command with all its jobs, in the order of the groups."""
    app = typer.Typer(
        cls=_JobGroup,
        help="From a shop's raw catalogue and reviews to a tuned shopping LLM, on Ray.",
        # One command may be written with dashes or underscores, like the module that it runs.
        context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _use_dashes},
        pretty_exceptions_enable=False,
    )
    app.callback()(_take_global_options)
    for job in sorted(JOBS, key=lambda job: GROUPS.index(job.group)):
        app.command(job.command, help=_describe(job), short_help=job.purpose, rich_help_panel=job.group)(
            build_command(job)
        )
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


class _JobGroup(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing:  # so it is while a shell completes
            get_job(args[0])
        return super().resolve_command(ctx, args)


def _use_dashes(token: str) -> str:
    return token.replace("_", "-")


def _describe(job: Job) -> str:
    return f"{job.purpose}\n\nReads {job.reads}.\n\nWrites {job.writes}."


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"eshop_ray {__version__}")
        raise typer.Exit


def _take_global_options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...


def _run(command: Any, words: list[str], program: str) -> NoReturn:
    """Read the command line, then do what it says."""
    try:
        action = command.main(words, prog_name=program, standalone_mode=False)
    except UserError as error:
        fail(str(error))
    except typer.TyperException as error:
        fail(_explain(error))
    if callable(action):
        action()
    sys.exit(action or 0)  # help, version or completion was shown


def _explain(error: typer.TyperException) -> str:
    """Return what is wrong with a command line, with the nearest option for one that does not exist."""
    context, message = getattr(error, "ctx", None), error.format_message()
    if context is None:
        return message
    hint = f"see `{context.command_path} --help`"
    option = getattr(error, "option_name", None)
    if not hasattr(error, "possibilities") or option is None:
        return f"{message.rstrip('.')}; {hint}"
    known = [name for parameter in context.command.params for name in parameter.opts] + ["--help"]
    nearest = difflib.get_close_matches(option, known, n=1, cutoff=0.0)[0]
    return f"unknown option `{option}`; did you mean `{nearest}`? Settings are written section.field=value; {hint}"

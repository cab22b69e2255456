"""The sub-commands of `eshop` in their groups, and what a mistaken command line gets."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from eshop_ray import __version__
from eshop_ray.cli.commands import build_command
from eshop_ray.cli.job_table import GROUPS, JOBS, Job, get_job
from eshop_ray.cli.vllm_options import BatchCommand
from eshop_ray.errors import UserError, find_nearest


class _JobGroup(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing:  # so it is while a shell completes
            get_job(args[0])
        return super().resolve_command(ctx, args)


def build_group() -> TyperGroup:
    """Return the command with all its jobs, in the order of their groups."""
    app = typer.Typer(
        cls=_JobGroup,
        help="From a shop's raw catalogue and reviews to a tuned shopping LLM, on Ray.",
        context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _write_with_dashes},
    )
    app.callback()(_take_global_options)
    for job in sorted(JOBS, key=lambda job: GROUPS.index(job.group)):
        add = app.command(
            job.command,
            cls=BatchCommand if job.name == "run_batch" else None,
            help=_describe(job),
            short_help=job.purpose,
            rich_help_panel=job.group,
        )
        add(build_command(job))
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def call(command: Any, words: Sequence[str], program: str) -> None:
    """Read a command line and do what it says.

    Args:
        command: Typer's: the group, or one of its commands.
        words: The command line.
        program: What stands before them.

    Raises:
        UserError: if the command line makes no sense, or the job says so.
        SystemExit: with the status of help, version or completion that is not 0.
    """
    try:
        action = command.main(words, prog_name=program, standalone_mode=False)
    except typer.TyperException as error:
        raise UserError(_explain(error)) from None
    if callable(action):
        action()
    elif action:
        raise SystemExit(action)


def _write_with_dashes(token: str) -> str:
    """Let a job be called as its module is, with underscores."""
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
    nearest = find_nearest(option, known)
    return f"unknown option `{option}`; did you mean `{nearest}`? Settings are written section.field=value; {hint}"

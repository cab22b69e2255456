"""Options of `vllm run-batch` on our command line: those that we have no word for become settings of the engine."""

import argparse
import difflib
import functools
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from typer.core import TyperCommand

from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

WITHOUT_EFFECT = {
    "--enable-metrics": 0,
    "--host": 1,
    "--port": 1,
    "--url": 1,
    "--enable-log-requests": 0,
    "--no-enable-log-requests": 0,
    "--enable-log-outputs": 0,
    "--no-enable-log-outputs": 0,
}
"""Options of metrics, which Ray has its own of, and of logs that would quote customers -> their values."""

SEVERAL_NAMES = "--served-model-name"
"""Takes several values with vLLM, one with ours, which may be given again."""

SETTING = re.compile(r"(\w+\.[\w.]+|run_root|name|seed)=")
"""What ends a list of values; an adapter's `NAME=PATH` does not."""

TARGET = "infer.engine_kwargs"


class BatchCommand(TyperCommand):
    """A command that understands vLLM's options too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put vLLM's options in our own words, then read the command line as usual."""
        own = {
            name: parameter.nargs if not getattr(parameter, "is_flag", False) else 0
            for parameter in self.params
            for name in parameter.opts
        }
        parsed: list[str] = super().parse_args(ctx, translate(args, own))
        return parsed


def translate(words: Sequence[str], own: Mapping[str, int]) -> list[str]:
    """Return the words of a command line with vLLM's options as settings.

    Args:
        words: As given.
        own: Our options, and how many values each takes.

    Raises:
        UserError: for an option that vLLM does not have either, or a value that it refuses.
    """
    left, foreign, index = list[str](), list[str](), 0
    while index < len(words):
        word = words[index]
        name = _normalise(word)
        index += 1
        if not word.startswith("-") or word == "-":
            left.append(word)
        elif name in own or name in ("--help", "-h"):
            count = 0 if "=" in word else own.get(name, 0)
            values = list(words[index : index + count])
            if name == SEVERAL_NAMES and count and {"-i", "-o"} <= set(map(_normalise, words)):
                values = _take_values(words, index)
            index += len(values)
            left += [piece for value in values for piece in (word, value)] if values else [word]
        elif name in WITHOUT_EFFECT:
            index += 0 if "=" in word else WITHOUT_EFFECT[name]
            logger.warning("%s has no effect here; progress is in the log, and Ray has metrics of its own", name)
        else:
            values = [] if "=" in word else _take_foreign(words, index, name, own)
            index += len(values)
            foreign += [word, *values]
    given = read_options(foreign)
    return left + [f"{TARGET}.{name}={json.dumps(value, default=asdict)}" for name, value in given.items()]


def _normalise(word: str) -> str:
    name = word.partition("=")[0]
    return name.replace("_", "-") if name.startswith("--") else name


def _take_values(words: Sequence[str], start: int) -> list[str]:
    values = []
    for word in words[start:]:
        if word.startswith("-") or SETTING.match(word):
            break
        values.append(word)
    return values


def _take_foreign(words: Sequence[str], start: int, name: str, own: Mapping[str, int]) -> list[str]:
    """Return the values of an option of vLLM's."""
    actions = build_parser()._option_string_actions
    action = actions.get(name.partition(".")[0])
    if action is None:
        nearest = difflib.get_close_matches(name, [*own, *actions], n=1, cutoff=0.0)[0]
        raise UserError(
            f"unknown option `{name}`; did you mean `{nearest}`? `vllm run-batch` has none of this name either. "
            "Settings are written section.field=value; see `eshop run-batch --help`"
        )
    if action.nargs == 0:
        return []
    values = _take_values(words, start)
    return values if action.nargs in ("*", "+") else values[:1]


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Return vLLM's arguments in options of its command line, values as JSON has them.

    Raises:
        UserError: if vLLM refuses them.
    """
    if not words:
        return {}
    try:
        given: dict[str, Any] = vars(build_parser().parse_args(list(words)))
    except (SystemExit, ValueError, argparse.ArgumentError) as error:
        raise UserError(f"vLLM refuses its options {' '.join(words)}: {error}") from None
    return given


@functools.cache
def build_parser() -> Any:
    """Return vLLM's own parser, of which only what is given has a value.

    Raises:
        UserError: if vLLM is not installed.
    """
    level = os.environ.get("VLLM_LOGGING_LEVEL")
    try:
        os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"  # vLLM is not at work here, only its words are read
        from vllm.engine.arg_utils import EngineArgs
        from vllm.entrypoints.launchers.cli_args import BaseFrontendArgs
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError as error:
        raise UserError(f"options of vLLM need vLLM itself, which cannot be imported here: {error}") from None
    finally:
        os.environ.pop("VLLM_LOGGING_LEVEL")
        if level is not None:
            os.environ["VLLM_LOGGING_LEVEL"] = level

    class Parser(FlexibleArgumentParser):  # type: ignore[misc]
        def error(self, message: str) -> None:
            raise ValueError(message)

    parser = EngineArgs.add_cli_args(BaseFrontendArgs.add_cli_args(Parser(add_help=False)))
    for action in parser._actions:
        action.default, action.required = argparse.SUPPRESS, False
        if callable(action.type):
            action.type = _keep_plain(action.type)
    return parser


def _keep_plain(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a converter that checks as the given one does, and leaves JSON as it is."""

    def read(text: str) -> Any:
        value = convert(text)
        try:
            json.dumps(value)
        except TypeError:
            return json.loads(text)
        return value

    return read

"""Options of `vllm run-batch` on our command line: those that we have no word for become settings of the engine."""

import argparse
import functools
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from typer.core import TyperCommand

from eshop_ray.errors import UserError, find_nearest

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
"""Options of metrics, which Ray has its own of, and of logs that would quote customers -> how many values follow."""

HELP = ("--help", "-h")
SEVERAL_NAMES = "--served-model-name"
"""Takes several values with vLLM, one with us, where it may be given again."""
FILES = ({"-i", "--input-file"}, {"-o", "--output-file"})

SETTING = re.compile(r"(\w+\.[\w.]+|run_root|name|seed)=")
"""What ends a list of values; an adapter's `NAME=PATH` does not."""

_LEVEL = re.compile(r"-O=?(\w*)")

TARGET = "infer.engine_kwargs"

OwnOptions = Mapping[str, int]
"""Our options, and how many values each takes."""


class BatchCommand(TyperCommand):
    """A command that understands vLLM's options too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put vLLM's options in our own words, then read the command line as usual."""
        own = {
            name: 0 if getattr(parameter, "is_flag", False) else parameter.nargs
            for parameter in self.params
            for name in parameter.opts
        }
        parsed: list[str] = super().parse_args(ctx, translate(args, own))
        return parsed


def translate(words: Sequence[str], own: OwnOptions) -> list[str]:
    """Return the words of a command line with vLLM's options as settings.

    vLLM's own parser reads them, in a process of its own: who imports vLLM gets its logging and more.

    Raises:
        UserError: for an option that vLLM does not have either, or a value that it refuses.
    """
    words = _split_short(words)
    names = {_name(word) for word in words if word.startswith("-")}
    for name in sorted(names & WITHOUT_EFFECT.keys()):
        logger.warning("%s has no effect here; progress is in the log, and Ray has metrics of its own", name)
    if names <= {*own, *WITHOUT_EFFECT, *HELP}:
        return rewrite(words, own)
    child = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps([words, own]),
        env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = child.stdout.splitlines()
    if child.returncode or not said:
        raise UserError(f"options of vLLM cannot be read here: {child.stderr.strip()[-300:]}")
    answer = json.loads(said[-1])
    if "error" in answer:
        raise UserError(answer["error"])
    translated: list[str] = answer["words"]
    return translated


def rewrite(words: Sequence[str], own: OwnOptions) -> list[str]:
    """Return what `translate` does; vLLM is imported for options of its own."""
    takes_files_by_options = all(names & set(map(_name, words)) for names in FILES)
    left, foreign, index = list[str](), list[str](), 0
    while index < len(words):
        word = words[index]
        name = _name(word)
        index += 1
        if not word.startswith("-") or word == "-":
            left.append(word)
        elif name in own or name in HELP:
            count = 0 if "=" in word else own.get(name, 0)
            values = list(words[index : index + count])
            if name == SEVERAL_NAMES and count and takes_files_by_options:
                values = _take_values(words, index)
            index += len(values)
            left += [piece for value in values for piece in (word, value)] if values else [word]
        elif name in WITHOUT_EFFECT:
            index += 0 if "=" in word else WITHOUT_EFFECT[name]
        else:
            values = [] if "=" in word else _take_foreign(words, index, name, own)
            index += len(values)
            foreign += [word, *values]
    given = read_options(foreign)
    settings = ((name, json.dumps(value, default=asdict, ensure_ascii=False)) for name, value in given.items())
    return left + [f"{TARGET}.{name}={value}" for name, value in settings]


def _split_short(words: Sequence[str]) -> list[str]:
    """Return the words with values apart that stand with their option: `-iFILE`, and `-O3` by its long name."""
    split: list[str] = []
    for word in words:
        level = _LEVEL.fullmatch(word)
        if level:
            split += ["--optimization-level", *([level[1]] if level[1] else [])]
        elif word[:2] in ("-i", "-o") and len(word) > 2 and not word.startswith("--"):
            split += [word[:2], word[2:].removeprefix("=")]
        else:
            split.append(word)
    return split


def _name(word: str) -> str:
    name = word.partition("=")[0]
    return name.replace("_", "-") if name.startswith("--") else name


def _take_values(words: Sequence[str], start: int) -> list[str]:
    values = []
    for word in words[start:]:
        if word.startswith("-") or SETTING.match(word):
            break
        values.append(word)
    return values


def _take_foreign(words: Sequence[str], start: int, name: str, own: OwnOptions) -> list[str]:
    """Return the values of an option of vLLM's."""
    actions = build_parser()._option_string_actions
    action = actions.get(name.partition(".")[0])
    if action is None:
        nearest = find_nearest(name, [*own, *actions])
        raise UserError(
            f"unknown option `{name}`; did you mean `{nearest}`? `vllm run-batch` has none of this name either. "
            "Settings are written section.field=value; see `eshop run-batch --help`"
        )
    if action.nargs == 0:
        return []
    if action.nargs in ("*", "+"):
        return _take_values(words, start)
    if action.nargs == "?":
        return _take_values(words, start)[:1]
    return list(words[start : start + 1])


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
        names = " ".join(word.partition("=")[0] for word in words if word.startswith("--"))
        raise UserError(f"vLLM refuses its options ({names}): {error}") from None
    return given


@functools.cache
def build_parser() -> Any:
    """Return vLLM's own parser, of which only what is given has a value.

    Raises:
        UserError: if vLLM is not installed.
    """
    try:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.entrypoints.launchers.cli_args import BaseFrontendArgs
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError as error:
        raise UserError(f"options of vLLM need vLLM itself, which cannot be imported here: {error}") from None

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


def answer_parent() -> None:
    """Rewrite the command line on the standard input, and print it, or what is wrong with it, as one line of JSON."""
    words, own = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        answer = {"words": rewrite(words, own)}
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # nothing of vLLM is to end in order


if __name__ == "__main__":
    answer_parent()

"""Names in a page that the code must know: config keys and jobs. A wrong one is told with the nearest that exists."""

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from config_keys import Key

_FENCE = re.compile(r"^\s*(?:```|~~~)(\w*)")
_CODE_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMAND = re.compile(r"(?<![\w./-])eshop (?P<name>[a-z][\w-]*)")
_MODULE = re.compile(r"(?<![\w./])jobs\.(?P<name>[a-z]\w*)(?!\.)")
_FILE_ENDINGS = {"html", "json", "jsonl", "md", "parquet", "py", "safetensors", "svg", "txt", "yaml"}


@dataclass(frozen=True, slots=True)
class Problem:
    """A name that does not exist, and where it stands."""

    page: str
    line: int
    name: str
    nearest: str

    def __str__(self) -> str:
        """Say what is wrong, where, and what may be meant."""
        return f"{self.page}:{self.line}: `{self.name}` does not exist; did you mean `{self.nearest}`?"


@dataclass(frozen=True, slots=True)
class Code:
    """A code span or a fenced block."""

    line: int
    """Of its first line, from 1."""
    text: str
    language: str | None = None
    """Of a fenced block, empty where it names none; None for a code span."""


def read_code(text: str) -> Iterator[Code]:
    """Yield the code spans and the fenced blocks of a page in Markdown."""
    fence: str | None = None
    block: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line)
        if fence is None and mark is None:
            yield from (Code(number, span) for span in _CODE_SPAN.findall(line))
        elif fence is None and mark is not None:
            fence, block = mark[1], []
        elif mark is None:
            block.append(line)
        else:
            yield Code(number - len(block), "\n".join(block), fence)
            fence = None


class KnownNames:
    """The names that exist."""

    def __init__(self, keys: Collection[Key], jobs: Collection[str]) -> None:
        """Take all keys of a config, and the jobs' names as Python writes them."""
        self._keys = {key.name: key for key in keys}
        self._sections = {name.partition(".")[0] for name in self._keys if "." in name}
        self._modules = set(jobs)
        self._commands = {job.replace("_", "-") for job in jobs}
        sections = "|".join(sorted(self._sections))
        self._dotted = re.compile(rf"(?<![\w./:-])(?P<name>(?:{sections})(?:\.[a-z_]\w*)+)(?P<after>=|\()?")

    def check_page(self, page: str, text: str) -> list[Problem]:
        """Return what is wrong with a page.

        Checked are, in code spans, `section.field` and `section.field=value`; in fenced blocks `section.field=value`,
        and the keys of YAML that has a section of the config; in both, `eshop JOB` and `jobs.JOB`. A Python name such
        as `ray.init()` is told apart by its parenthesis, a file such as `search.json` by its ending.

        Args:
            page: Its name, for the message.
            text: Markdown.
        """
        problems = []
        for code in read_code(text):
            for number, line in enumerate(code.text.splitlines(), code.line):
                wrong = [*self._find_keys(line, code.language is None), *self._find_jobs(line)]
                problems += [Problem(page, number, name, nearest) for name, nearest in wrong]
            if code.language == "yaml":
                problems += self._check_yaml(page, code)
        return problems

    def has_key(self, name: str) -> bool:
        """Whether a config may set this key, or one that is handed on from there to another program."""
        if name in self._keys or name in self._sections:
            return True
        parents = (name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1))
        return any(self._keys[parent].is_open for parent in parents if parent in self._keys)

    def _find_keys(self, line: str, is_span: bool) -> Iterator[tuple[str, str]]:
        for match in self._dotted.finditer(line):
            is_other = match["after"] == "(" or match["name"].rpartition(".")[2] in _FILE_ENDINGS
            if not is_other and (is_span or match["after"] == "=") and not self.has_key(match["name"]):
                yield match["name"], find_nearest(match["name"], self._keys)

    def _find_jobs(self, line: str) -> Iterator[tuple[str, str]]:
        for pattern, jobs in ((_COMMAND, self._commands), (_MODULE, self._modules)):
            for match in pattern.finditer(line):
                if match["name"] not in jobs:
                    start = match[0].removesuffix(match["name"])
                    yield match[0], start + find_nearest(match["name"], jobs)

    def _check_yaml(self, page: str, code: Code) -> Iterator[Problem]:
        try:
            documents = list(yaml.safe_load_all(code.text))
        except yaml.YAMLError as error:
            raise ValueError(f"{page}:{code.line}: this block is no YAML: {error}") from error
        for document in documents:
            if isinstance(document, dict) and self._sections & set(document):
                for name in filter(lambda name: not self.has_key(name), _list_names(document)):
                    field = name.rpartition(".")[2]
                    lines = enumerate(code.text.splitlines(), code.line)
                    number = next((number for number, line in lines if f"{field}:" in line), code.line)
                    yield Problem(page, number, name, find_nearest(name, self._keys))


def find_nearest(name: str, known: Collection[str]) -> str:
    """Return the known name that looks most like this one."""
    return difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]


def _list_names(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names in a YAML document; items of a list bear the list's name."""
    if isinstance(value, list):
        for item in value:
            yield from _list_names(item, prefix)
    elif isinstance(value, dict):
        for name, inner in value.items():
            dotted = f"{prefix}.{name}" if prefix else str(name)
            yield dotted
            yield from _list_names(inner, dotted)

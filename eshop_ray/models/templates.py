"""A model folder's chat templates: the options that are set in them, and the one date that they print.

Options stand in the template's own text, not beside it: whoever renders (training, an engine, vLLM's server, an engine
of somebody else's) then renders alike, and a merged or quantized model takes them along.
"""

import json
import re
from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from eshop_ray.artifacts import (
    MANIFEST,
    alone,
    find_complete,
    find_manifest,
    fingerprint,
    stage_dir,
    write_manifest,
)
from eshop_ray.errors import UserError
from eshop_ray.models.digests import model_digest
from eshop_ray.places import place_of

TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
"""Folder of a model's templates for other uses, such as `tool_use`."""
PROCESSOR_TEMPLATE = "chat_template.json"
"""Where multimodal models once kept theirs; it would win over the other file."""
TOKENIZER_CONFIG = "tokenizer_config.json"
DEFAULT = "default"
"""Name of the template of `chat_template.jinja`."""

TODAY = datetime(2024, 7, 26)
"""The date that every prompt has where a template prints one: the one that Llama 3 takes if it is told none."""

GIVEN = {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "raise_exception"}
FUNCTIONS = {"strftime_now", "namespace", "dict", "range", "cycler", "joiner", "lipsum"}
"""Names that a template reads and no option sets."""

_SET = re.compile(r"\{#- eshop_ray: (\{.*?\}) #\}\n")
"""How a head begins that options were written into."""
_ASKED_FOR = ("defined", "undefined", "default", "d")
_DERIVED = "templates"
_NAME_CHARACTERS = 32
_DIRECTIVES = "aAwdbBmyYHIMpSfzZjUWcxXGuV"


def settle_templates(folder: Path, options: Mapping[str, Any], cache_dir: str) -> Path:
    """Return a model folder whose templates have the options in them and print no date of the day.

    Where nothing is to be changed, that is the folder itself; else one in the cache, with links to the folder's other
    files and a digest of its own.

    Args:
        folder: The model.
        options: Name -> value, as JSON has them.
        cache_dir: Where models are kept.

    Raises:
        UserError: if no template reads an option of that name, or one is no template.
    """
    templates = read_templates(folder)
    try:
        known = {name for text in templates.values() for name in list_option_names(text)}
        settled = {name: write_options(text, options) for name, text in templates.items()}
    except TemplateSyntaxError as error:
        raise UserError(
            f"the chat template of {place_of(folder)} cannot be read (line {error.lineno}: {error.message}); mend it"
        ) from error
    _check_known(folder, options, known)
    if settled == templates:
        return folder
    digest = model_digest(folder)
    inputs = fingerprint([digest, settled])
    derived = Path(cache_dir).expanduser().absolute() / _DERIVED / inputs[:_NAME_CHARACTERS]
    with alone(derived):
        if find_complete(derived) is None:
            with stage_dir(derived) as staged:
                _link_files(folder, staged)
                save_templates(staged, settled)
                details = {"source": place_of(folder), "template_options": dict(options)}
                write_manifest(staged, "model", inputs, {"base": digest}, details)
    return derived


def name_source(folder: Path) -> str:
    """Return where the model of a folder comes from whose templates were settled; else the folder's own place."""
    manifest = find_manifest(folder) if folder.parent.name == _DERIVED else None
    return str(manifest.details["source"]) if manifest else place_of(folder)


def describe_model(folder: Path) -> str:
    """Return where the model of a folder comes from, and the options that are set in its chat template."""
    options = read_options(read_templates(folder).get(DEFAULT, ""))
    return (
        f"{name_source(folder)} with `model.template_options` {json.dumps(options)}" if options else name_source(folder)
    )


def read_templates(folder: Path) -> dict[str, str]:
    """Return name -> text of the templates that Transformers finds in a model folder; none where there are none."""
    files = {path.stem: path for path in sorted((folder / MORE_TEMPLATES).glob("*.jinja"))}
    if (folder / TEMPLATE).is_file():
        files[DEFAULT] = folder / TEMPLATE
    if files:
        return {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    stated = _read_tokenizer_config(folder).get("chat_template")
    if isinstance(stated, list):
        return {Path(str(one["name"])).name: str(one["template"]) for one in stated}
    return {DEFAULT: stated} if isinstance(stated, str) else {}


def save_templates(folder: Path, templates: Mapping[str, str]) -> None:
    """Have these be a model folder's templates, each in a file of its own."""
    for name, text in templates.items():
        path = folder / TEMPLATE if name == DEFAULT else folder / MORE_TEMPLATES / f"{name}.jinja"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
    config = _read_tokenizer_config(folder)
    if config.pop("chat_template", None) is not None:
        (folder / TOKENIZER_CONFIG).unlink()
        (folder / TOKENIZER_CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_options(template: str, options: Mapping[str, Any]) -> str:
    """Return a template with a head that sets options, and a fixed date where it asks for one.

    A request to a server may still say otherwise, as with vLLM's `default_chat_template_kwargs`. The head's lines end
    where the template's own first one begins: what strips white space there finds it as before.
    """
    head = []
    if not options.items() <= read_options(template).items():
        # A `#` in a value could end the comment.
        stated = json.dumps(dict(options), sort_keys=True).replace("#", "\\u0023")
        head = [f"{{#- eshop_ray: {stated} #}}"]
        head += [f"{{% set {name} = {name} | default({_to_jinja(options[name])}) %}}" for name in sorted(options)]
    if "strftime_now" in find_variables(template):
        head.append(_FIXED_DATE)
    return "".join(f"{line}\n" for line in head) + template


def read_options(template: str) -> dict[str, Any]:
    """Return the options that are set in a template."""
    heads: list[dict[str, Any]] = [json.loads(found) for found in _SET.findall(template)]
    return {name: value for head in reversed(heads) for name, value in head.items()}


def list_option_names(template: str) -> list[str]:
    """Return the names that a template reads and an option may set, sorted."""
    names = find_variables(template) - GIVEN - FUNCTIONS
    return sorted(name for name in names if not name.endswith("_token"))


def find_variables(template: str) -> set[str]:
    """Return the names that a template reads without having set them itself.

    Raises:
        TemplateSyntaxError: if it is no template.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    tree = environment.parse(template)
    # Of what is set in one branch Jinja cannot tell whether it is set; a name of others is asked for with care.
    names = list(tree.find_all(nodes.Name))
    is_set = {name.name for name in names if name.ctx == "store"}
    asked = (one for one in tree.find_all((nodes.Test, nodes.Filter)) if one.name in _ASKED_FOR)
    is_optional = {one.node.name for one in asked if isinstance(one.node, nodes.Name)}
    is_optional -= {name.name for name in names if name.ctx == "param"}  # asked for in a macro that is given it
    return find_undeclared_variables(tree) - (is_set - is_optional)


class _Generation(Extension):
    """Reads the tag by which Transformers knows what an assistant said."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what is inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _check_known(folder: Path, options: Mapping[str, Any], known: Set[str]) -> None:
    unknown = sorted(options.keys() - known)
    if not unknown:
        return
    if not read_templates(folder):
        has = "it has no chat template"
    else:
        has = f"it reads {', '.join(f'`{name}`' for name in sorted(known))}" if known else "it reads no options"
    raise UserError(
        f"`model.template_options`: the chat template of {place_of(folder)} does not read `{unknown[0]}`; {has}"
    )


def _read_tokenizer_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # whoever loads the tokenizer says what is wrong with it
        return {}
    return config if isinstance(config, dict) else {}


def _link_files(folder: Path, target: Path) -> None:
    """Link all files of a model but those that its templates are read from."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        is_template = name.parts[0] in (TEMPLATE, PROCESSOR_TEMPLATE, MORE_TEMPLATES)
        if path.is_file() and path.name != MANIFEST and not is_template:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to(path.resolve())


def _to_jinja(value: Any) -> str:
    """Return a JSON value as Jinja writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_to_jinja(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_to_jinja, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "none" if value is None else json.dumps(value)


def _write_fixed_date() -> str:
    """Return the macro that stands for Transformers' `strftime_now`, whatever form of a date it is asked for."""

    def replace() -> Iterator[str]:
        for letter in _DIRECTIVES:
            yield f"| replace({json.dumps(f'%-{letter}')}, {json.dumps(TODAY.strftime(f'%-{letter}'))})"
            yield f"| replace({json.dumps(f'%{letter}')}, {json.dumps(TODAY.strftime(f'%{letter}'))})"

    return (
        f"{{% macro strftime_now(format) %}}{{{{ format {' '.join(replace())} | replace('%%', '%') }}}}{{% endmacro %}}"
    )


_FIXED_DATE = _write_fixed_date()

"""The text of a chat template: what is set in it, and what it reads.

Options stand in the template's own text, not beside it: whoever renders (training, an engine, vLLM's server, an engine
of somebody else's) then renders alike, and a merged or quantized model takes them along.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

TODAY = datetime(2024, 7, 26)
"""The date that every prompt has where a template prints one: the one that Llama 3 takes if it is told none."""

GIVEN = {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "raise_exception"}
FUNCTIONS = {"strftime_now", "namespace", "dict", "range", "cycler", "joiner", "lipsum"}
"""Names that a template reads and no option sets."""

_SET = re.compile(r"\{#- eshop_ray: (\{.*?\}) #\}\n")
"""How a head begins that options were written into."""
_ASKED_FOR = ("defined", "undefined", "default", "d")
_DIRECTIVES = "aAwdbBmyYHIMpSfzZjUWcxXGuV"


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


def write_prompt_end(template: str, own: str, other: str) -> str:
    """Return a template whose prompts end with another text where they ended with their own; all else stays."""
    # The line end behind `set` counts as the block's, and a template's last one is left out as it always is.
    text = f"{{% set eshop_ray_text %}}\n{template.removesuffix(_LINE_END)}{{%+ endset %}}"
    is_own = f"add_generation_prompt and eshop_ray_text.endswith({_to_jinja(own)})"
    ended = f"eshop_ray_text[: eshop_ray_text | length - {len(own)}] ~ {_to_jinja(other)}"
    return f"{text}{{{{ {ended} if {is_own} else eshop_ray_text }}}}"


_LINE_END = "\n"


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

"""What mkdocs calls while it builds the site: fill in what is generated, refuse names that do not exist."""

import re
from typing import Any

from click import ClickException
from config_keys import list_keys
from page_names import KnownNames, Problem
from reference import GENERATED

from eshop_ray.cli.job_table import JOBS
from eshop_ray.config import Config

_MARK = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)

known = KnownNames(list(list_keys(Config)), [job.name for job in JOBS])
problems: list[Problem] = []


def on_pre_build(**_: Any) -> None:
    """Forget what an earlier build found: `mkdocs serve` builds many times."""
    problems.clear()


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Check the page as it is written, then fill in its generated tables."""
    problems.extend(known.check_page(f"docs/{page.file.src_uri}", page.file.content_string))
    return fill_in(markdown, page.file.src_uri)


def on_env(env: Any, **_: Any) -> Any:
    """End the build where a page names what does not exist.

    Raises:
        ClickException: with one line per wrong name.
    """
    if problems:
        raise ClickException("names that do not exist:\n" + "\n".join(f"  {problem}" for problem in problems))
    return env


def fill_in(markdown: str, page: str) -> str:
    """Put each generated table in the place of its mark.

    Raises:
        ClickException: if nothing of that name is generated.
    """

    def write(match: re.Match[str]) -> str:
        if match[1] not in GENERATED:
            raise ClickException(f"docs/{page}: `{match[0]}`: nothing of this name; there are: {', '.join(GENERATED)}")
        return GENERATED[match[1]]()

    return _MARK.sub(write, markdown)

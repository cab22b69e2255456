"""A model folder's chat templates, read from and saved to the files that Transformers reads; a folder of its own for
those that settings change.
"""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from jinja2 import TemplateSyntaxError

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
from eshop_ray.models.template_text import list_option_names, read_options, write_options
from eshop_ray.places import place_of

TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
"""Folder of a model's templates for other uses, such as `tool_use`."""
PROCESSOR_TEMPLATE = "chat_template.json"
"""Where multimodal models once kept theirs; it would win over the other file."""
TOKENIZER_CONFIG = "tokenizer_config.json"
DEFAULT = "default"
"""Name of the template of `chat_template.jinja`."""

_DERIVED = "templates"
_NAME_CHARACTERS = 32


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

"""The endpoint as a Serve file: what `serve deploy` and KubeRay's RayService are given, and the way back from it."""

from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from ray.serve.deployment import Application

from eshop_ray.artifacts import AnyFolder, SharedFolder, write_text
from eshop_ray.config import Config, ServeSection
from eshop_ray.errors import UserError
from eshop_ray.inference.engines.serve_app import SERVE_APP
from eshop_ray.models import model_digest
from eshop_ray.places import is_uri
from eshop_ray.secrets import hide_secrets
from eshop_ray.serving.adapters import Adapters, build_lora_arguments
from eshop_ray.serving.application import QUIET_LOG, absolute, build_application, find_folders
from eshop_ray.serving.keys import KeyRing

IMPORT_PATH = "eshop_ray.serving.declared:build_declared"
ALWAYS = ("host", "model_id", "use_gpu", "engine_kwargs", "deployment_config")
"""Settings that stand in the file though they may be the defaults: whoever runs a cluster turns them."""
PLACES = ("model_uri", "model_digest")
ADAPTER_DIGESTS = "adapter_digests"

HEADER = """\
# The endpoint, written by `eshop serve --write`: `serve deploy` takes this file as it is. Of KubeRay's RayService it is
# `spec.serveConfigV2`. API keys are where `api_keys_file` or `api_keys_env` say, on every node; none stand here.
"""


def write_declaration(
    path: Path, config: Config, model_dir: AnyFolder, digest: str, adapters: Adapters = MappingProxyType({})
) -> None:
    """Write the endpoint of a config as a Serve file.

    Args:
        path: Of the file.
        config: Of the run.
        model_dir: Folder of the model, as nodes of the cluster find it.
        digest: Its digest.
        adapters: Folders of `serve.adapters`, likewise.

    Raises:
        UserError: if the endpoint would have no API keys, or the file would hold a secret.
    """
    text = yaml.safe_dump(declare(config, model_dir, digest, adapters), sort_keys=False, allow_unicode=True)
    write_text(path.absolute(), HEADER + text)


def declare(
    config: Config, model_dir: AnyFolder, digest: str, adapters: Adapters = MappingProxyType({})
) -> dict[str, Any]:
    """Return the content of the file; arguments as those of `write_declaration`.

    Raises:
        UserError: likewise.
    """
    section = config.serve
    if section.api_keys_file is None and section.api_keys_env is None:
        raise UserError(
            "an endpoint on a cluster has API keys: set `serve.api_keys_file` or `serve.api_keys_env` to where they "
            "are on its nodes; `eshop make-key` makes one"
        )
    build_lora_arguments(adapters, section.engine_kwargs)  # what is wrong with them is to be said here
    args: dict[str, Any] = {
        "model_uri": _name_place(model_dir),
        "model_digest": digest,
        "serve": _state_section(config, section, adapters),
        "infer": {"temperature": config.infer.temperature, "constrained": config.infer.constrained},
        "index": {"uri": config.index_uri},
    }
    if adapters:
        args[ADAPTER_DIGESTS] = {name: _digest_of(folder) for name, folder in adapters.items()}
    if hide_secrets(args) != args:
        raise UserError(
            "the file would hold a secret, of `serve` or in a URI: give it to the cluster's nodes as an environment "
            "variable or a mounted secret instead"
        )
    return {
        "http_options": {"host": section.host, "port": section.port},
        "logging_config": QUIET_LOG,
        "applications": [
            {"name": SERVE_APP, "import_path": IMPORT_PATH, "route_prefix": "/", "args": args},
        ],
    }


def _name_place(folder: AnyFolder) -> str:
    return folder.uri if isinstance(folder, SharedFolder) else str(folder.absolute())


def _digest_of(folder: AnyFolder) -> str:
    return folder.digest if isinstance(folder, SharedFolder) else model_digest(folder)


def _state_section(config: Config, section: ServeSection, adapters: Adapters) -> dict[str, Any]:
    folders = find_folders(config)
    places: dict[str, Any] = {"api_keys_file": absolute(section.api_keys_file), "ledger_dir": folders.ledger}
    places["batches"] = section.batches.model_copy(update={"dir": folders.batches})
    places["adapters"] = {name: _name_place(folder) for name, folder in adapters.items()}
    own = section.model_copy(update=places)
    stated = {name: value for name, value in own.model_dump(mode="json").items() if name != "port"}
    given = own.model_dump(mode="json", exclude_defaults=True)
    stated["batches"] = given["batches"]
    return {name: value for name, value in stated.items() if name in given or name in ALWAYS}


def build_declared(args: dict[str, Any]) -> Application:
    """Return the application of a Serve file, whose `import_path` names this function.

    Args:
        args: `model_uri`, a URI or a folder that all nodes see, and `model_digest`; `adapter_digests` by the names of
            `serve.adapters`; `serve`, `infer` and `index`, sections as in a config file. API keys are wanted: Ray Serve
            listens where the file says, which is not known here.

    Raises:
        UserError: if something is missing or wrong.
    """
    missing = [name for name in PLACES if name not in args]
    if missing:
        raise UserError(f"`args` of the application lack {', '.join(missing)}")
    sections = {name: part for name, part in args.items() if name not in (*PLACES, ADAPTER_DIGESTS)}
    config = Config.model_validate({"name": "serve", **sections})
    if KeyRing.of(config.serve).is_open:
        raise UserError("set `serve.api_keys_file` or `serve.api_keys_env`: `eshop make-key` makes a key")
    digest = args["model_digest"]
    model_dir = find_folder(args["model_uri"], digest, "model")
    digests = args.get(ADAPTER_DIGESTS, {})
    adapters = {
        name: find_folder(uri, digests.get(name, ""), f"adapter `{name}`")
        for name, uri in config.serve.adapters.items()
    }
    return build_application(config, model_dir, digest, adapters)


def find_folder(uri: str, digest: str, kind: str) -> AnyFolder:
    """Return a folder that a Serve file names.

    Args:
        uri: Of an object store, or a folder that all nodes see.
        digest: That it had when the file was written.
        kind: What it is, for people.

    Raises:
        UserError: if it is not there, or holds something else by now.
    """
    if is_uri(uri):
        return SharedFolder(uri, digest)
    folder = Path(uri)
    if not folder.is_dir():
        raise UserError(f"{kind} {folder} is not on this node; all nodes have to see it, or it stands in a bucket")
    if model_digest(folder) != digest:
        raise UserError(
            f"{kind} {folder} has changed since the file was written; `eshop serve --write` writes it again"
        )
    return folder

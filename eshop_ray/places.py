"""Places: local folders, and URIs of object stores, of which this machine keeps a copy in a folder of its cache.

The driver of a job works on copies, and what is said of a copy holds for the URI: see `eshop_ray.artifacts`.
"""

import os
from pathlib import Path

from eshop_ray.errors import UserError
from eshop_ray.secrets import hide_in_text

CACHE_VARIABLE = "ESHOP_RAY_CACHE"
PRIVATE_DIR = 0o700
"""Mode of folders whose files may hold customers' texts."""
_DEFAULT_CACHE = "~/.cache/eshop_ray"


_SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")


def is_uri(place: str) -> bool:
    """Whether a place is named by a URI other than that of a local file."""
    return "://" in place and not place.startswith("file://")


def show(uri: str) -> str:
    """Return a place for people: the user and the query of a URI may be credentials."""
    return hide_in_text(uri.partition("?")[0]) if "://" in uri else uri


def check_uri(uri: str) -> None:
    """Raise `UserError` if no storage is known by the URI's scheme, or its path would end at a `#`."""
    scheme = uri.partition("://")[0]
    if is_uri(uri) and "#" in uri.partition("?")[0]:
        raise UserError(f"{show(uri)}: a URI cannot have a `#`; choose another name")
    if is_uri(uri) and scheme not in _SCHEMES:
        raise UserError(
            f"{show(uri)}: no storage is known as `{scheme}`; use a local folder, `s3://`, `gs://` or `az://`"
        )


def cache_dir() -> Path:
    """Return this machine's folder of copies: that of `ESHOP_RAY_CACHE`, or `~/.cache/eshop_ray`."""
    return Path(os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE).expanduser().absolute()


def local_path(place: str) -> Path:
    """Return the absolute local path of a place: of a URI that of its copy, which may not be there yet.

    Raises:
        UserError: if no such storage is known, the URI has a query, whose words would be lost, a `#` or `%`, which
            libraries read differently, or a name that would be taken for that of unfinished work.
    """
    if not is_uri(place):
        return Path(place.removeprefix("file://")).expanduser().absolute()
    check_uri(place)
    scheme, _, path = place.partition("://")
    parts = [part for part in path.split("/") if part]
    if set("?#%") & set(place) or not parts or any(part.startswith(".") for part in parts):
        raise UserError(
            f"{show(place)}: a place is written as `{scheme}://BUCKET/FOLDER`, without `?`, `#`, `%` and names that "
            "begin with a dot; endpoint and keys come from the environment"
        )
    return _mirror_dir().joinpath(scheme, *parts)


def uri_of(path: Path) -> str | None:
    """Return the URI that a path is the copy of; None for all other paths, and for what is not finished yet.

    Names that begin with a dot are of unfinished or private work.
    """
    root = _mirror_dir()
    if not path.is_relative_to(root):
        return None
    scheme, *parts = path.relative_to(root).parts or ("",)
    return None if not parts or any(part.startswith(".") for part in parts) else f"{scheme}://{'/'.join(parts)}"


def make_folder(folder: Path) -> None:
    """Create a folder; if it is a copy, so that its owner only gets at any copies.

    Raises:
        UserError: if the cache cannot be written.
        OSError: if another folder cannot.
    """
    root = _mirror_dir()
    if not folder.is_relative_to(root):
        folder.mkdir(parents=True, exist_ok=True)
        return
    try:
        root.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_cache(error) from error


def explain_cache(error: OSError) -> UserError:
    """Return what to do about a cache that cannot be written."""
    return UserError(f"{cache_dir()}: {error.strerror}; set `{CACHE_VARIABLE}` to a folder you may write")


def place_of(path: Path) -> str:
    """Return where a path is for all nodes: its URI, if it is the copy of one, or the path itself."""
    return uri_of(path) or str(path)


def _mirror_dir() -> Path:
    return cache_dir() / "mirror"

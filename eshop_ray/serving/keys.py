"""Who may ask: API keys, of which the endpoint knows digests only."""

import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from eshop_ray.config import ServeSection
from eshop_ray.config.base import PositiveInt, Section
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

PREFIX = "esk-"
"""How a key begins, so that scanners for leaked secrets find it."""
KEY_BYTES = 32
OTHERS, GROUP = 0o007, 0o070

KeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class ApiKey(Section):
    """What the endpoint knows of a key: one line of a key file, as JSON."""

    id: KeyId
    """Names the key in logs and in the ledger."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the key. A key is 256 random bits: nobody guesses it, however fast the digest is."""
    requests_per_minute: PositiveInt | None = None
    """Requests in any 60 seconds."""
    tokens_per_day: PositiveInt | None = None
    """Tokens read and written in a day of UTC."""
    note: str = ""
    """For people."""

    @property
    def is_limited(self) -> bool:
        """Whether anything has to be counted for it."""
        return self.requests_per_minute is not None or self.tokens_per_day is not None


def make_key(key_id: str, **limits: int | str | None) -> tuple[str, ApiKey]:
    """Return a new key, which nobody can be shown again, and what the endpoint has to know of it.

    Raises:
        UserError: if the id or a limit is none.
    """
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    try:
        return key, ApiKey.model_validate({"id": key_id, "sha256": digest_key(key), **limits})
    except ValidationError as error:
        raise UserError(f"no such key can be made: {_explain(error)}") from None


def digest_key(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def write_line(key: ApiKey) -> str:
    """Return the line of a key file."""
    return json.dumps(key.model_dump(exclude_defaults=True))


def read_lines(text: str, source: str) -> tuple[tuple[ApiKey, ...], list[str]]:
    """Return the keys in a text, and what is wrong with each line that is none: such a key does not count.

    Args:
        text: A key as JSON on each line; empty lines and those that begin with `#` are passed over.
        source: Where it stands, for people.
    """
    keys: dict[str, ApiKey] = {}
    troubles = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = ApiKey.model_validate_json(line)
        except ValidationError as error:
            troubles.append(f"{source}:{number}: {_explain(error)}")
            continue
        if key.id in keys:
            troubles.append(f"{source}:{number}: the id `{key.id}` stands on an earlier line too")
        else:
            keys[key.id] = key
    return tuple(keys.values()), troubles


class KeysLostError(Exception):
    """The file of API keys cannot be used now, or has none: nobody can say which keys hold."""


class KeyRing:
    """The keys that hold now. A file is looked at for every request and read again once it has changed: a key whose
    line is gone stops at once.
    """

    def __init__(self, path: Path | None = None, variable: str | None = None) -> None:
        """Read the keys.

        Args:
            path: Their file.
            variable: Name of the environment variable that holds them, where there is no file.

        Raises:
            UserError: naming a file that is not there, that others can read, or that has a line which is no key.
        """
        self._path = path
        self._stamp: tuple[int, ...] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        if path is not None:
            self._stamp = _stamp_of(path)
            self._keys, troubles = read_lines(_read_private(path), str(path))
        elif variable is not None:
            self._keys, troubles = read_lines(_read_variable(variable, os.environ), variable)
        else:
            troubles = []
        if troubles:
            raise UserError(f"{'; '.join(troubles)}; `eshop make-key` writes such lines")
        self.is_open = path is None and variable is None
        """Whether nobody needs a key."""
        if not self.is_open and not self._keys:
            raise UserError(f"{path or variable} has no API key; `eshop make-key` makes one")

    @classmethod
    def of(cls, config: ServeSection) -> "KeyRing":
        """Return the keys of a config.

        Raises:
            UserError: if both places are named, or what is named cannot be used.
        """
        if config.api_keys_file and config.api_keys_env:
            raise UserError("name `serve.api_keys_file` or `serve.api_keys_env`, not both")
        path = Path(config.api_keys_file).expanduser().absolute() if config.api_keys_file else None
        return cls(path, config.api_keys_env)

    def find(self, key: str) -> ApiKey | None:
        """Return what is known of a key; None if it does not hold.

        It is compared with all, in a time that does not depend on where they differ.
        """
        self._refresh()
        digest = digest_key(key)
        found = None
        for known in self._keys:
            if hmac.compare_digest(known.sha256, digest):
                found = known
        return found

    def get(self, key_id: str) -> ApiKey | None:
        """Return what is known of a key by its id, for work that outlives its request; None if it holds no more.

        Raises:
            KeysLostError: if that cannot be told: whoever writes a file anew empties it at first.
        """
        self._refresh()
        if not self.is_open and not self._keys:
            raise KeysLostError
        return next((known for known in self._keys if known.id == key_id), None)

    def _refresh(self) -> None:
        """Read a changed file. One that cannot be used lets nobody in: a key that was taken away must not go on."""
        if self._path is None:
            return
        try:
            stamp = _stamp_of(self._path)
            if stamp == self._stamp:
                return
            keys, troubles = read_lines(_read_private(self._path), str(self._path))
            if self._keys and not keys:
                logger.error("no API key holds any more: %s has none", self._path)
            self._keys, self._stamp = keys, stamp
        except UserError as error:
            if self._keys:
                logger.error("no API key holds any more: %s", error)
            self._keys, self._stamp = (), None
            return
        for trouble in troubles:
            logger.error("passed over: %s", trouble)


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path}: the file of API keys cannot be read ({error.strerror})") from None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _read_private(path: Path) -> str:
    """Return the text of a file that nobody else can read.

    A group may where the file belongs to somebody else: so Kubernetes hands a secret to an ordinary user.
    """
    try:
        status = path.stat()
        closed = OTHERS | (GROUP if status.st_uid == os.geteuid() else 0)
        if status.st_mode & closed:
            raise UserError(f"{path}: others can use the file of API keys; `chmod 600 {path}`")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: the file of API keys cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: the file of API keys is no text") from None


def _read_variable(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise UserError(f"serve.api_keys_env: there is no environment variable {name}")
    return environment[name]


def _explain(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, detail["loc"]))
    return f"{place}: {detail['msg']}" if place else str(detail["msg"])

"""How object stores are reached: one set of environment variables for all that reads or writes.

They are the stores' usual ones: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`,
`AWS_REGION` or `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, and the roles of a machine or pod;
`GOOGLE_APPLICATION_CREDENTIALS`; `AZURE_STORAGE_ACCOUNT_NAME` with a key, a token or an identity. A query on the URI
(`s3://bucket?endpoint_override=host:9000&scheme=http&region=eu-west-1`) wins over them.
"""

import os
import re
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store
from pyarrow import fs

from eshop_ray.errors import UserError
from eshop_ray.places import is_uri

if TYPE_CHECKING:  # stubs only
    from obstore.store import ClientConfig, RetryConfig, S3CredentialProvider

MAX_RETRIES = 5
RETRY_TIMEOUT = timedelta(seconds=60)
"""Passing trouble of an object store (5xx, lost connections) is retried this often and this long."""
_CLIENT: "ClientConfig" = {"timeout": timedelta(minutes=10), "read_timeout": timedelta(minutes=1)}
"""What stands still is given up, not what is slow: by default a request has 30 seconds for all, its body included."""

_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Where one of these is set, or no profile is, the store's client finds its credentials by itself."""
_CREDENTIALS = re.compile(r"^\s*(?:aws_access_key_id|role_arn|sso_\w+|credential_\w+|login_session)\s*=", re.MULTILINE)
"""What a file of profiles says where it tells credentials; other settings need nothing but this module."""


def open_store(uri: str) -> ObjectStore:
    """Return the store of all that lies below a URI, or below an absolute local folder."""
    if not is_uri(uri):
        return LocalStore(uri.removeprefix("file://"))
    base, _, query = uri.partition("?")
    retry: RetryConfig = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}
    if base.startswith("gs://"):
        return GCSStore.from_url(base, retry_config=retry, client_options=_CLIENT)
    if not base.startswith("s3"):
        return AzureStore.from_url(base, retry_config=retry, client_options=_CLIENT)
    settings = _read_s3(query)
    client: ClientConfig = {**_CLIENT, "allow_http": settings.get("endpoint", "").startswith("http://")}
    provider: dict[str, Any] = {"credential_provider": found} if (found := _find_profile()) else {}
    return S3Store.from_url(base, config=settings, retry_config=retry, client_options=client, **provider)  # type: ignore[arg-type]


def delta_options(uri: str) -> dict[str, str]:
    """Return what `deltalake` must be told besides the environment; it reads profiles by itself."""
    if not is_uri(uri):
        return {}
    options = {"max_retries": f"{MAX_RETRIES}", "retry_timeout": f"{RETRY_TIMEOUT.seconds}s"}
    if uri.startswith("s3"):
        settings = _read_s3("")
        options |= {"AWS_REGION": settings["region"]} if "region" in settings else {}
        options |= {"AWS_ENDPOINT_URL": settings["endpoint"]} if "endpoint" in settings else {}
        options |= {"AWS_ALLOW_HTTP": "true"} if settings.get("endpoint", "").startswith("http://") else {}
    return options


def arrow_filesystem(place: str) -> tuple[fs.FileSystem, str]:
    """Return what Ray and PyArrow read and write a place with, and its path there."""
    if not is_uri(place):
        return fs.LocalFileSystem(), place.removeprefix("file://")
    base, _, query = place.partition("?")
    scheme, _, path = base.partition("://")
    if scheme == "gs":
        return fs.GcsFileSystem(), path
    if scheme not in {"s3", "s3a"}:
        return fs.AzureFileSystem(account_name=os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")), path
    settings = _read_s3(query)
    options = {"region": settings.get("region", "us-east-1")}
    if "endpoint" in settings:
        options["scheme"], _, options["endpoint_override"] = settings["endpoint"].partition("://")
    return fs.S3FileSystem(**options), path


def _read_s3(query: str) -> dict[str, str]:
    """Return region and endpoint, where they are told."""
    told = dict(parse_qsl(query))
    region = told.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = region or _read_profile_region()
    endpoint = told.get("endpoint_override")
    if endpoint and "://" not in endpoint:
        endpoint = f"{told.get('scheme', 'https')}://{endpoint}"
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return {name: value for name, value in (("region", region), ("endpoint", endpoint)) if value}


def _find_profile() -> "S3CredentialProvider | None":
    """Return what finds the credentials of a profile, where there is one and nothing else tells them."""
    if any(os.environ.get(name) for name in _KEYS):
        return None
    files = [path for path in _profile_files() if path.is_file()]
    if not files or not (os.environ.get("AWS_PROFILE") or any(_CREDENTIALS.search(_read(path)) for path in files)):
        return None
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ModuleNotFoundError:
        raise UserError(
            "the AWS profile in ~/.aws is read with boto3, which is not installed: `pip install boto3`, or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    try:
        session = boto3.session.Session()
        return Boto3CredentialProvider(session) if session.get_credentials() else None
    except BotoCoreError as error:
        raise UserError(f"AWS profile: {error}; correct AWS_PROFILE or ~/.aws") from error


def _read_profile_region() -> str | None:
    profile = os.environ.get("AWS_PROFILE") or "default"
    for path in _profile_files():
        parser = ConfigParser(interpolation=None, strict=False)
        with suppress(ConfigParserError):
            parser.read_string(_read(path))
        for section in (profile, f"profile {profile}"):
            if region := parser.get(section, "region", fallback=None):
                return region
    return None


def _profile_files() -> list[Path]:
    files = (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config"))
    return [Path(os.environ.get(variable) or f"~/.aws/{name}").expanduser() for variable, name in files]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

"""Places that a job reads and writes: local folders and object stores, by one class and one set of variables."""

from eshop_ray.storage.access import arrow_filesystem, is_uri, show
from eshop_ray.storage.storage import Storage, StorageError, StoredFile

__all__ = ["Storage", "StorageError", "StoredFile", "arrow_filesystem", "is_uri", "show"]

"""What a job reads and writes: local folders and object stores, by one class and one set of variables."""

from eshop_ray.storage.access import arrow_filesystem
from eshop_ray.storage.storage import Storage, StorageError, StoredFile

__all__ = ["Storage", "StorageError", "StoredFile", "arrow_filesystem"]

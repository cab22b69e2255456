"""Texts that are alike, found and removed on any number of nodes."""

from eshop_ray.data.near_duplicates.removal import Removal, remove_near_duplicates

__all__ = ["Removal", "remove_near_duplicates"]

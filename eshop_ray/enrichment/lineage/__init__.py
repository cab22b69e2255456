"""From an enriched row back to the model, the adapter and the training data behind it, every byte verified."""

from eshop_ray.enrichment.lineage.repair import Repaired, repair
from eshop_ray.enrichment.lineage.verification import Verification, hash_log, verify, write_run_record

__all__ = ["Repaired", "Verification", "hash_log", "repair", "verify", "write_run_record"]

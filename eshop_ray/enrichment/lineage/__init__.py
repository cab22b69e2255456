"""From an enriched row back to the model, the adapter and the training data behind it, every byte verified."""

from eshop_ray.enrichment.lineage.verification import Report, hash_log, verify, write_run_record

__all__ = ["Report", "hash_log", "verify", "write_run_record"]

"""LoRA tuning on Ray Train, and folding the adapter into the base."""

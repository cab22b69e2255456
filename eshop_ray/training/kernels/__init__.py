"""Attention and LoRA layers that compute the same numbers in less time; `mask` attention is the reference."""

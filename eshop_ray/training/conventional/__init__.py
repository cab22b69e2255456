"""Conventional models on Ray Train: encoders with heads, sequence-to-sequence models, plain causal ones."""

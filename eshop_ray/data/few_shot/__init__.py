"""Worked examples in prompts: which training rows a question gets, and how they stand before it."""

"""Engines, each a function Dataset -> Dataset, and the bulk run around them."""

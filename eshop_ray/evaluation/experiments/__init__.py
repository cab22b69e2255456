"""Experiments: adapters trained beside each other, merged, searched for the best mixture, confirmed and compared."""

"""Keeping one enriched Delta table current with a catalogue and its reviews, night after night."""

"""From raw files of a shop to records: sources, cleaning, splits; and a shop of its own to start with."""

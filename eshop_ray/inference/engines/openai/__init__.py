"""A remote endpoint as an engine: what is sent, what comes back, how fast, and what it may cost."""

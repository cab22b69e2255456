"""Adapters into models: read, compared, combined, and folded into the base tensor by tensor."""

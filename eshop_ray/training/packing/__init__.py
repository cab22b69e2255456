"""Rows -> packs: which rows share a prefix, which rows meet in a pack, and the pack itself."""

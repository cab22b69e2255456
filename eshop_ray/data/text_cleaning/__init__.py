"""Texts of shops, cleaned: markup, broken characters, personal data, and what is not worth learning from."""

from eshop_ray.data.text_cleaning.stage import clean_block, clean_texts, count_reasons

__all__ = ["clean_block", "clean_texts", "count_reasons"]

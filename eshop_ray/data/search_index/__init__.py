"""The search index over the enriched catalogue: what is kept of a product, and how it is found."""

from eshop_ray.data.search_index.document import Attribute, Document, Review
from eshop_ray.data.search_index.index import Changes, Hit, SearchIndex

__all__ = ["Attribute", "Changes", "Document", "Hit", "Review", "SearchIndex"]

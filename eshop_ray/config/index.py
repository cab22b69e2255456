"""The section of the search index over the enriched catalogue."""

from pydantic import Field

from eshop_ray.config.base import PositiveInt, Section


class IndexSection(Section):
    """The index that `build_index` keeps, and that the endpoint's search, its assistant and its page read."""

    uri: str | None = None
    """Folder, `s3://`, `gs://` or `az://`; None: `index` in the run directory. It holds texts of products and of
    reviews."""
    num_reviews: int = Field(default=3, ge=0)
    """Reviews of each product that are kept with it, the most helpful first: what an answer may cite."""
    max_review_characters: PositiveInt = 500
    """Of each of them; the rest is cut off."""

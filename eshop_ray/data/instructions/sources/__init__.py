"""Readers of material, one file per format; parsers that `data.sources` has already are called, not written again.

Each has `read(stream, path, options)`, where `options` are the source's own with its `language`. It yields material,
for rows that it cannot read `Malformed`, and for those that are not wanted `LeftOut`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from eshop_ray.config.instructions import InstructionFormat
from eshop_ray.data.instructions.material import LeftOut, Material
from eshop_ray.data.instructions.sources import (
    amasum,
    amazon_m2,
    attribute_values,
    ec_guide,
    ecinstruct,
    epqa,
    esci,
    hetpqa,
    product_matching,
    products,
    queryner,
    review_summaries,
    reviews,
    semipqa,
    shopbench,
    shopify_taxonomy,
)
from eshop_ray.data.instructions.sources.beside import find_beside
from eshop_ray.schema import Malformed

MaterialReader = Callable[[IO[bytes], str, Mapping[str, Any]], Iterator[Material | LeftOut | Malformed]]

READERS: Mapping[InstructionFormat, MaterialReader] = {
    "amasum": amasum.read,
    "amazon_m2": amazon_m2.read,
    "attribute_values": attribute_values.read,
    "ec_guide": ec_guide.read,
    "ecinstruct": ecinstruct.read,
    "epqa": epqa.read,
    "esci": esci.read,
    "hetpqa": hetpqa.read,
    "product_matching": product_matching.read,
    "products": products.read,
    "queryner": queryner.read,
    "review_summaries": review_summaries.read,
    "reviews": reviews.read,
    "semipqa": semipqa.read,
    "shopbench": shopbench.read,
    "shopify_taxonomy": shopify_taxonomy.read,
}
"""A source's `format` -> its reader."""

COMPANIONS: Mapping[InstructionFormat, Sequence[str]] = {
    "amazon_m2": (amazon_m2.PRODUCTS,),
    "shopify_taxonomy": shopify_taxonomy.BESIDE,
}
"""A source's `format` -> names of files that are read beside each of its files."""


def list_companions(name: InstructionFormat, path: str) -> list[str]:
    """Return the paths of what is read beside a file of a format, as far as it is there."""
    return [found for beside in COMPANIONS.get(name, ()) if (found := find_beside(path, beside))]

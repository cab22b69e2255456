"""Readers of material, one file per format; parsers that `data.sources` has already are called, not written again.

Each has `read(stream, path, options)`, where `options` are the source's own with its `language`. It yields material
and, for rows that it cannot read, `Malformed`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from eshop_ray.config.instructions import InstructionFormat
from eshop_ray.data.instructions.material import Material
from eshop_ray.data.instructions.sources import esci, products, shopify_taxonomy
from eshop_ray.schema import Malformed

MaterialReader = Callable[[IO[bytes], str, Mapping[str, Any]], Iterator[Material | Malformed]]

READERS: Mapping[InstructionFormat, MaterialReader] = {
    "esci": esci.read,
    "products": products.read,
    "shopify_taxonomy": shopify_taxonomy.read,
}
"""A source's `format` -> its reader."""

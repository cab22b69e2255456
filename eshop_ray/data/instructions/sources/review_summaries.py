"""Reviews with the summaries that people wrote of them, a table: `rev1 ... rev8`, `summ1 ... summ3`."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.instructions.material import Material, ReviewSummary
from eshop_ray.data.sources import reviews
from eshop_ray.schema import Malformed, content_id


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `ReviewSummary` for each product.

    Raises:
        UserError: if it is no such table.
    """
    for number, record in enumerate(reviews.read(stream, path, {}), start=1):
        if isinstance(record, Malformed):
            yield record
        elif record["task"] != "summarization":
            yield Malformed(path, number, "no column of a summary")
        else:
            yield ReviewSummary(
                id=content_id(*record["reviews"]),
                language=options["language"],
                reviews=tuple(record["reviews"]),
                summaries=tuple(record["target"]),
            )

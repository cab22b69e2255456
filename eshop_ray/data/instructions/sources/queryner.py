"""QueryNER's tagged queries."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.instructions.material import Material, TaggedText
from eshop_ray.data.sources import queryner
from eshop_ray.schema import Malformed, content_id
from eshop_ray.tasks.heads import find_runs


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `TaggedText` for each query, its types as words: `core product type`."""
    for record in queryner.read(stream, path, {}):
        if isinstance(record, Malformed):
            yield record
            continue
        tokens, tags = record["target"]["tokens"], record["target"]["tags"]
        spans: dict[str, tuple[str, ...]] = {}
        for start, end, kind in find_runs(tags):
            name = kind.replace("_", " ")
            spans[name] = (*spans.get(name, ()), " ".join(tokens[start:end]))
        text = " ".join(tokens)
        yield TaggedText(id=content_id(text), language=options["language"], text=text, spans=spans, is_query=True)

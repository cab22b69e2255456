"""Products: a shop's catalogue, as its system exports it or in columns of its own, and item metadata of Amazon 2023."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from pydantic import ValidationError

from eshop_ray.config.files import CatalogOptions
from eshop_ray.config.loading import explain_errors
from eshop_ray.data.instructions.material import Material, Product
from eshop_ray.data.products import join_texts, read_id, read_products, select_level
from eshop_ray.data.sources.required import parse_row
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row, content_id

LANGUAGE = "language"


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield `Product`s.

    Args:
        stream: The file's bytes, unpacked.
        path: Its path.
        options: The fields of `CatalogOptions`, and `language`.

    Raises:
        UserError: if the file cannot be parsed as a whole.
    """
    language = options[LANGUAGE]
    try:
        settings = CatalogOptions.model_validate({key: value for key, value in options.items() if key != LANGUAGE})
    except ValidationError as error:
        raise UserError(f"products source: {explain_errors(error, CatalogOptions)}") from error
    parse = partial(_read_product, language=language)
    for row in read_products(stream, path, settings):
        yield row if isinstance(row, Malformed) else parse_row(path, *row, parse)


def _read_product(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    title = _line(row.get("name"))
    if not title:
        return Malformed(path, number, "the product has no name")
    description, bullets = _split_description(join_texts(row.get("description")))
    return Product(
        id=read_id(row.get("id")) or content_id(title),
        language=language,
        title=title,
        category=_read_path(row.get("category")),
        description=description,
        brand=_line(row.get("brand")),
        bullets=bullets,
        attributes=_read_attributes(row.get("attributes")),
    )


def _line(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _read_path(value: Any) -> str:
    """Return a category as `A > B > C`, however its levels are divided; joined columns come a line each."""
    levels = str(value or "").splitlines() if isinstance(value, str) else []
    names = [part.strip() for level in levels for part in level.split(" > ")]
    return " > ".join(name for name in names if select_level(name, "path"))


def _split_description(value: Any) -> tuple[str, tuple[str, ...]]:
    """Return the running text, and the lines after the first as bullets where there are several short ones."""
    lines = [" ".join(line.split()) for line in value.splitlines()] if isinstance(value, str) else []
    lines = [line for line in lines if line]
    bullets = tuple(line for line in lines[1:] if len(line) < 120)
    return " ".join(lines), bullets if len(bullets) >= 2 and len(bullets) == len(lines) - 1 else ()


def _read_attributes(value: Any) -> dict[str, str] | None:
    """Return name -> value of lines `name: value`, as platforms give them."""
    pairs = (line.partition(":") for line in value.splitlines()) if isinstance(value, str) else ()
    found = {name.strip(): text.strip() for name, _, text in pairs if name.strip() and text.strip()}
    return found or None

"""A catalogue's files -> products in columns of one set of names, for training data and the nightly table alike."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from decimal import Decimal
from typing import IO, Any

from eshop_ray.config.files import CatalogOptions, FileOptions
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.markup import to_plain_text
from eshop_ray.data.platforms import PLATFORMS, recognise
from eshop_ray.data.platforms.base import DANGLING, Part, Platform
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row, is_text

MAX_ID_CHARACTERS = 500
_EXACT = 1e15
"""Up to here every whole number is a float of its own."""

_LEVELS = re.compile(r"\s*(?:>|»|→|::)\s*")
_WHOLE = re.compile(r"(\d+)\.0+")
_WORD = re.compile(r"\S+\s*")

ReadRow = tuple[int, Row] | Malformed


def read_products(stream: IO[bytes], path: str, options: CatalogOptions) -> Iterator[ReadRow]:
    """Yield (1-based line or row where it begins, product) for each product of a file.

    A product has the file's own columns, or those of its platform, and the names of `options.columns` in addition.
    Texts come without markup, the category as `options.category` says.

    Args:
        stream: The file's bytes, unpacked.
        path: Its path.
        options: How it is written, and what its columns mean.

    Raises:
        UserError: if the file cannot be parsed as a whole, or is not what the platform writes.
    """
    platform = PLATFORMS[options.format] if options.format else None
    rows: Iterator[ReadRow] = read_rows(stream, path, choose_file_options(path, options))
    if platform is not None:
        rows = _assemble(platform, rows, path, options)
    for row in rows:
        yield row if isinstance(row, Malformed) else (row[0], finish_row(row[1], options))


def choose_file_options(path: str, options: CatalogOptions) -> FileOptions:
    """Return how a file is written, with what its platform adds: where the rows are in its documents."""
    files = options.file_options()
    records = PLATFORMS[options.format].records if options.format else None
    if records and files.records is None and path.endswith((".yaml", ".yml")):
        return files.model_copy(update={"records": records})
    return files


def look_up(row: Mapping[str, Any], column: str | tuple[str, ...]) -> Any:
    """Return a row's value by the name of its column, by a dotted path into one, or several such values as one text."""
    if not isinstance(column, str):
        texts = (join_texts(look_up(row, one)) for one in column)
        return "\n".join(f"{text}" for text in texts if text not in (None, "")) or None
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for name in column.split("."):
        if isinstance(value, list):
            value = (
                value[int(name)] if name.isdigit() and int(name) < len(value) else [_get(one, name) for one in value]
            )
        else:
            value = _get(value, name)
    return value


def join_texts(value: Any) -> Any:
    """Return a list of texts, such as the paragraphs of a description, as one text; anything else as it is."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    return value


def read_id(value: Any) -> str | None:
    """Return an id as text, None if it is none.

    Numbers and what programs make of them are one id: 7, 7.0, "7" and "7.0"; zeros before a number count.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if isinstance(value, float | Decimal):
        value = int(value) if float(value).is_integer() and abs(float(value)) < _EXACT else str(value)
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    text = whole[1] if whole else text
    return text if text and len(text) <= MAX_ID_CHARACTERS and is_text(text) else None


USUAL_NAMES = {
    "id": "id sku product_id productid item_id asin parent_asin code handle article ean",
    "name": (
        "name title product_name product_title productname item_name label bezeichnung titel nom titre nombre titulo"
    ),
    "category": "category categories product_type category_path department type taxonomy class kategorie "
    "categorie catégorie categoria categoría",
    "description": "description body desc long_description text details beschreibung descripcion",
}
"""What files call the columns of a catalogue, the likeliest first."""


def guess_columns(found: Iterable[str]) -> dict[str, str]:
    """Return our name of a column -> the file's that is likely meant, for columns that the file calls otherwise."""
    by_name = {re.sub(r"[\s-]+", "_", str(name).strip().lower()): str(name) for name in found}
    guesses = {}
    for name, usual in USUAL_NAMES.items():
        nearest = difflib.get_close_matches(name, by_name, n=1, cutoff=0.7)
        column = next((by_name[one] for one in (*usual.split(), *nearest) if one in by_name), None)
        if column is not None and column != name:
            guesses[name] = column
    return guesses


def read_version(value: Any) -> float:
    """Return how new a row is, by a number or a date in any usual form; what is neither is older than all."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value or "").strip()
    try:
        return float(text)
    except ValueError:
        pass
    import dateutil.parser  # few catalogues ask for it

    try:
        moment = dateutil.parser.parse(text)
    except (ValueError, OverflowError):
        return -math.inf
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def explain_missing(path: str, missing: Iterable[str], found: Iterable[str], setting: str) -> UserError:
    """Return what is wrong when no row of a catalogue has a column that is needed.

    Args:
        path: The file.
        missing: Columns that no row has, as the file would name them.
        found: Those that there are.
        setting: Where the platform and the columns are set, e.g. `catalog`.
    """
    found = sorted(map(str, found))
    platform = recognise(found)
    if platform is not None:
        remedy = f"it looks like an export of {platform.title}: set `{setting}.format: {platform.name}`"
    else:
        guesses = ", ".join(f"{name}: {column}" for name, column in guess_columns(found).items())
        remedy = f"name the file's own columns in `{setting}.columns`, e.g. {{{guesses or 'name: title'}}}"
    return UserError(f"{path}: no column {', '.join(missing)}; found {', '.join(found[:20])}; {remedy}")


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def finish_row(row: Row, options: CatalogOptions) -> Row:
    """Return a row of a file with our names of its columns, its texts without markup."""
    named = {name: look_up(row, column) for name, column in options.columns.items()}
    product = {**row, **named}
    for name, value in product.items():
        if isinstance(value, str):
            product[name] = to_plain_text(value)
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            product[name] = [to_plain_text(one) for one in value]
    category = product.get("category")
    if isinstance(category, str) and options.category != "path":
        product["category"] = select_level(category, options.category)
    return product


def select_level(category: str, level: str | int) -> str:
    """Return the part of a category that `options.category` asks for."""
    names = [name for name in _LEVELS.split(category) if name.strip()]
    if not names:
        return ""
    return names[-1] if isinstance(level, str) else names[min(level, len(names)) - 1]


def _assemble(platform: Platform, rows: Iterator[ReadRow], path: str, options: CatalogOptions) -> Iterator[ReadRow]:
    """Put rows of one product that follow each other together."""
    seen: set[str] = set()
    num_rows = num_named = 0
    held: _Held | None = None
    for row in platform.join(rows) if platform.join else rows:
        if isinstance(row, Malformed):
            yield row
            continue
        num_rows += 1
        seen.update(map(str, row[1]))
        for part in platform.read(row[1], options.locale):
            num_named += bool(part.product and part.product.get("name"))
            if held is not None and held.takes(part):
                held.add(part, row[1], options)
                continue
            if held is not None:
                yield held.finish()
                held = None
            if part.product is not None:
                held = _Held(row[0], part, row[1], options)
            elif platform.is_followed:
                key = f"`{part.key}` " if part.key else ""
                reason = f"belongs to the product {key}that no row above it names"
                yield Malformed(path, row[0], reason)
    if held is not None:
        yield held.finish()
    if num_rows and not num_named and not platform.recognises(seen):
        raise _explain_other(path, platform, seen)


def _explain_other(path: str, platform: Platform, seen: Iterable[str]) -> UserError:
    found = sorted(seen)
    other = recognise(found)
    likely = f"it looks like an export of {other.title}: `format: {other.name}`" if other else "leave `format` out"
    asked = " or ".join(", ".join(sorted(signature)) for signature in platform.signatures)
    return UserError(
        f"{path}: no export of {platform.title}, which has the columns {asked}; found {', '.join(found[:20])}; {likely}"
    )


class _Held:
    """A product whose rows are still coming."""

    def __init__(self, line: int, part: Part, row: Row, options: CatalogOptions) -> None:
        assert part.product is not None
        self.line = line
        self.key = part.key
        self.product = _add_own(part.product, row, options)
        self.names = [str(self.product.get("name") or "")]

    def takes(self, part: Part) -> bool:
        """Whether a part is of this product."""
        return (part.product is None and part.key is None) or (part.key is not None and part.key == self.key)

    def add(self, part: Part, row: Row, options: CatalogOptions) -> None:
        """Take what a further row adds: its name, and columns that were empty so far."""
        if part.product is None:
            return
        self.names.append(str(part.product.get("name") or ""))
        for name, value in _add_own(part.product, row, options).items():
            if self.product.get(name) in (None, ""):
                self.product[name] = value

    def finish(self) -> tuple[int, Row]:
        """Return the product; one whose variants have names of their own is called what these begin with."""
        if len(set(self.names)) > 1:
            self.product["name"] = _common_words(self.names) or self.names[0]
        return self.line, self.product


def _add_own(product: Row, row: Row, options: CatalogOptions) -> Row:
    """Return a product with the columns of the file that `options.columns` asks for."""
    wanted = [column for given in options.columns.values() for column in ([given] if isinstance(given, str) else given)]
    wanted += [options.newest_by] if options.newest_by else []
    own = {column: look_up(row, column) for column in wanted}
    return {**own, **product}


def _common_words(names: Iterable[str]) -> str:
    split = [_WORD.findall(name) for name in names]
    common = []
    for words in zip(*split, strict=False):
        if len({word.strip() for word in words}) > 1:
            break
        common.append(words[0])
    return "".join(common).rstrip(DANGLING)

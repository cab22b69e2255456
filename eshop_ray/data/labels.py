"""Labels to choose from: a list that a person has looked through, in the config or in a file."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from eshop_ray.artifacts import write_text
from eshop_ray.config.files import CatalogOptions
from eshop_ray.data.cleaning import MAX_LABELS
from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.formats.encodings import decode_lines
from eshop_ray.data.formats.reader import PACKED_ENDINGS, read_rows
from eshop_ray.data.formats.text_blocks import TextBlock
from eshop_ray.data.product_blocks import read_product_blocks, squeeze_column
from eshop_ray.data.products import select_level
from eshop_ray.errors import UserError
from eshop_ray.places import show
from eshop_ray.schema import Malformed, is_text

LABEL_COLUMNS = ("label", "category", "path", "name")
"""Columns of a file of rows that may hold its labels; the first that a row has counts."""

_ENTRY = re.compile(r"(?:gid://\S+|\d+)\s+[-:]\s+(.+)")
"""A line of a published taxonomy that begins with the category's number: Google's `1 - Animals`, Shopify's `gid://...`.
"""


def choose_labels(key: str, given: Sequence[str] | str, root: str, options: CatalogOptions) -> tuple[str, ...]:
    """Return the labels that a config gives, each once, in their order.

    Args:
        key: Of the config, for messages.
        given: The labels, or the file that lists them.
        root: What the file's path is relative to.
        options: `category` says which level of a file's labels counts.

    Raises:
        UserError: if the file cannot be read or holds none, a label is empty, or a prompt cannot hold so many.
    """
    if isinstance(given, str):
        key = f"`{key}` ({given})"
        found: Iterable[str] = _read_labels(given, root, options)
        if options.category != "path":
            found = [select_level(label, options.category) for label in found]
    else:
        key, found = f"`{key}`", given
    labels = tuple(dict.fromkeys(" ".join(label.split()) for label in found))
    if isinstance(given, str) and not labels:
        raise UserError(f"{key}: there is no label in it")
    if not all(label and is_text(label) for label in labels):
        raise UserError(f"{key}: a label is empty, or no text in the file's encoding")
    if len(labels) > MAX_LABELS:
        raise UserError(
            f"{key}: {len(labels)} labels, a prompt holds {MAX_LABELS}; keep those that your shop has, or take a "
            "higher level of them, e.g. catalog.category=1"
        )
    return labels


def _read_labels(path: str, root: str, options: CatalogOptions) -> list[str]:
    (file, *_) = list_files(root, path)
    name = file.path.partition("?")[0].lower()
    for packed in PACKED_ENDINGS:
        name = name.removesuffix(packed)
    with open_bytes(file.path) as stream:
        if name.endswith((".txt", ".text")):
            return read_lines("".join(decode_lines(stream, options.encoding)))
        labels = []
        for row in read_rows(stream, show(file.path), options.file_options()):
            if isinstance(row, Malformed):
                raise UserError(f"{row.path}:{row.line}: {row.reason}; a list of labels has to be sound")
            label = next((row[1][column] for column in LABEL_COLUMNS if row[1].get(column) is not None), None)
            if not isinstance(label, str):
                raise UserError(
                    f"{show(file.path)}:{row[0]}: no label; name the column {', '.join(LABEL_COLUMNS[:-1])} or "
                    f"{LABEL_COLUMNS[-1]}, or write one label a line into a file that ends in .txt"
                )
            labels.append(label)
    return labels


def read_lines(text: str) -> list[str]:
    """Return the labels of a text with one a line.

    Lines at its top that begin with `#` are remarks. What stands behind a tab is one too. Where one says that it
    is a taxonomy and all lines begin with a category's number, that is left away.
    """
    lines = text.splitlines()
    is_taxonomy = False
    while lines and lines[0].startswith("#"):
        is_taxonomy |= "taxonomy" in lines.pop(0).lower()
    labels = [label for line in lines if (label := line.partition("\t")[0].strip())]
    entries = [_ENTRY.fullmatch(label) if is_taxonomy else None for label in labels]
    return [entry[1] for entry in entries if entry] if all(entries) else labels


def count_categories(paths: Iterable[str], options: CatalogOptions) -> Counter[str]:
    """Return category -> number of products of a catalogue's files, each as `list_files` returns it.

    Raises:
        UserError: if a file cannot be read as a whole.
    """
    counts: Counter[str] = Counter()
    for path in paths:
        with open_bytes(path) as stream:
            for found in read_product_blocks(stream, show(path), options, ["category"]):
                if isinstance(found, TextBlock):
                    values = squeeze_column(found.columns.get("category", pa.array([], pa.string())))
                    counts.update({row["values"]: row["counts"] for row in values.value_counts().to_pylist()})
                elif isinstance(found, tuple):
                    value = found[1].get("category")
                    counts[" ".join(value.split()) if isinstance(value, str) and is_text(value) else ""] += 1
    return Counter({label: number for label, number in counts.items() if label})


def write_proposal(path: Path, counts: Counter[str]) -> None:
    """Write categories, sorted, as a text that `catalog.labels` may name once a person has looked through it."""
    lines = [
        "# The categories of the catalogue, and how many products each has.",
        "# They stand in the prompt of every product: delete what is misspelt, doubled or no category.",
        "",
        *(f"{label}\t{number}" for label, number in sorted(counts.items())),
    ]
    write_text(path, "\n".join(lines) + "\n")

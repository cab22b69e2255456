"""A column of texts, cleaned block by block: repaired where that can be, and told why a text had better go."""

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from eshop_ray.config.cleaning import TextCleaningSection
from eshop_ray.data.language import check_languages
from eshop_ray.data.product_blocks import clean_column, map_matching
from eshop_ray.data.text_cleaning.control import CONTROL, strip_control
from eshop_ray.data.text_cleaning.pages import PAGE, read_page
from eshop_ray.data.text_cleaning.personal import HINT, mask_personal
from eshop_ray.data.text_cleaning.quality import find_reasons
from eshop_ray.schema import Row

REASON = "reason"
"""Column: why a row had better go, null where it may stay."""
REPAIRS = "repairs"
"""Column: what was done to the text: `page`, `markup`, `unicode`, `control`, `personal`; an empty list where nothing
was."""
NUM_EXAMPLES = 5
MAX_SHOWN = 300
"""Characters of an example's text."""

_BROKEN = r"[^\x09\x0a\x0d\x20-\x7e]"
"""A text of other characters than these only can be broken."""


def clean_texts(rows: Dataset, section: TextCleaningSection, text_column: str = "text") -> Dataset:
    """Return rows with their texts cleaned, and the columns `reason` and `repairs`; no row is dropped here.

    Args:
        rows: A `reason` that a row has already stays.
        section: What is done.
        text_column: Text.

    Raises:
        UserError: if `section.languages` names one that is not known.
    """
    check_languages(section.languages)
    return rows.map_batches(
        clean_block, batch_format="pyarrow", fn_kwargs={"section": section, "text_column": text_column}
    )


def clean_block(block: pa.Table, section: TextCleaningSection, text_column: str) -> pa.Table:
    """Return a block with its texts cleaned, and the columns `reason` and `repairs`."""
    texts = block[text_column].cast(pa.string()).combine_chunks()
    done: list[tuple[str, pa.Array]] = []
    for name, repair in _list_repairs(section).items():
        repaired = repair(texts)
        done.append((name, pc.fill_null(pc.not_equal(repaired, texts), False)))
        texts = repaired
    reasons = find_reasons(texts, section)
    if REASON in block.column_names:
        reasons = pc.coalesce(block[REASON].cast(pa.string()).combine_chunks(), reasons)
    block = block.set_column(block.schema.get_field_index(text_column), text_column, texts)
    kept = block.drop_columns([name for name in (REASON, REPAIRS) if name in block.column_names])
    return kept.append_column(REASON, reasons).append_column(REPAIRS, _list_names(done))


def repair_unicode(text: str) -> str:
    """Return a text whose characters are what was meant, in composed form: no mojibake, no control characters."""
    fix, config = _ftfy()
    fixed: str = fix(text, config)
    return fixed


def count_reasons(rows: Dataset, id_column: str = "id", text_column: str = "text") -> Row:
    """Return `num_rows`, `removed` by reason, `repaired` by repair, and `examples` of each reason: those with the
    first ids, the same however the rows are divided.
    """
    told = rows.map_batches(
        lambda block: pa.table({"tally": [_tally(block, id_column, text_column)]}), batch_format="pyarrow"
    )
    total: Row = {"num_rows": 0, "removed": Counter(), "repaired": Counter(), "examples": {}}
    for row in told.iter_rows():
        tally = row["tally"]
        total["num_rows"] += tally["num_rows"]
        for kind in ("removed", "repaired"):
            total[kind].update({one["values"]: one["counts"] for one in tally[kind]})
        for example in tally["examples"]:
            own = total["examples"].setdefault(example.pop("reason"), [])
            own.append(example)
            own[:] = sorted(own, key=lambda one: str(one["id"]))[:NUM_EXAMPLES]
    return {**total, "removed": dict(total["removed"]), "repaired": dict(total["repaired"])}


def _tally(block: pa.Table, id_column: str, text_column: str) -> Row:
    removed = block.filter(pc.is_valid(block[REASON])).sort_by(id_column)
    examples = []
    for reason in removed[REASON].unique().to_pylist():
        first = removed.filter(pc.equal(removed[REASON], reason)).slice(0, NUM_EXAMPLES)
        texts = pc.utf8_slice_codeunits(first[text_column], 0, MAX_SHOWN)
        pairs = zip(first[id_column].to_pylist(), texts.to_pylist(), strict=True)
        examples += [{"reason": reason, "id": row_id, "text": text} for row_id, text in pairs]
    counts = {"removed": removed[REASON].value_counts(), "repaired": pc.list_flatten(block[REPAIRS]).value_counts()}
    return {"num_rows": len(block), "examples": examples, **{name: one.to_pylist() for name, one in counts.items()}}


def _list_repairs(section: TextCleaningSection) -> dict[str, Callable[[pa.Array], pa.Array]]:
    repairs: dict[str, Callable[[pa.Array], pa.Array]] = {
        "page": lambda texts: map_matching(texts, PAGE, read_page),
        "markup": clean_column,
        "unicode": lambda texts: map_matching(texts, _BROKEN, repair_unicode),
        "control": lambda texts: map_matching(texts, CONTROL, strip_control),
    }
    if section.personal == "mask":
        repairs["personal"] = lambda texts: map_matching(texts, HINT, lambda text: mask_personal(text)[0])
    return repairs


def _list_names(done: list[tuple[str, pa.Array]]) -> pa.Array:
    """Return for each row the names of what was done to it."""
    is_done = np.stack([column.to_numpy(zero_copy_only=False) for _, column in done], axis=1)
    names = pa.array([name for name, _ in done], pa.string()).take(np.nonzero(is_done)[1])
    return pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(is_done.sum(axis=1))]).astype(np.int32), names)


@cache
def _ftfy() -> tuple[Callable[..., str], Any]:
    # Imported when the first text comes that may need it: it takes a quarter of a second.
    import ftfy

    # Markup has been read already; quotes, ligatures and widths are how a shop writes.
    config = ftfy.TextFixerConfig(
        unescape_html=False, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False
    )
    return ftfy.fix_text, config

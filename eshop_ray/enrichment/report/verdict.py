"""Whether a night went well: one sentence, and the share of quarantined rows behind it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eshop_ray.reporting.page import Level, code
from eshop_ray.reporting.words import count

_SHRUNK = 0.8
"""A catalogue or a set of reviews that lost more than a fifth overnight is more often a broken export than a sale."""
_MANY = 0.01
"""Newly quarantined rows, as a share of all, that deserve a look the same morning; a few a night are normal."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to think of a run."""

    level: Level
    sentence: str


def get_quarantined_share(stats: Mapping[str, Any]) -> float:
    """Return the share of the input that stands in quarantine, 0 to 1; no input is no trouble."""
    num_quarantined, num_rows = int(stats["num_quarantined"]), int(stats["num_rows"])
    return num_quarantined / max(num_rows, num_quarantined, 1)


def is_failed(stats: Mapping[str, Any]) -> bool:
    """Whether more is in quarantine than `enrich.max_quarantined_share` allows."""
    return get_quarantined_share(stats) > float(stats["max_quarantined_share"])


def judge(stats: Mapping[str, Any]) -> Verdict:
    """Say whether all is well, from the numbers of `enrichment.json`."""
    if is_failed(stats):
        return Verdict("failed", _word_failure(stats))
    concerns = list(_find_concerns(stats))
    if concerns:
        return Verdict("attention", f"The run is complete, but look at this: {'; '.join(concerns)}.")
    return Verdict("well", f"All is well: {'; '.join(_word_success(stats))}.")


def _word_failure(stats: Mapping[str, Any]) -> str:
    share, limit = get_quarantined_share(stats), stats["max_quarantined_share"]
    return (
        f"The run failed: {stats['num_quarantined']:,} of {stats['num_rows']:,} rows ({share:.1%}) are in quarantine"
        f"{_word_reason(stats['quarantine'])}; `enrich.max_quarantined_share` allows {limit:.1%}. "
        "The good rows are in the table."
    )


def _word_reason(counts: Mapping[str, int]) -> str:
    return f", most of all for {code(max(counts, key=lambda reason: counts[reason]))}" if counts else ""


def _find_concerns(stats: Mapping[str, Any]) -> Iterator[str]:
    if stats.get("stopped"):
        left = count(stats["num_postponed"], "row")
        yield f"it stopped at its budget ({stats['stopped']}) and left {left} to the next"
    if stats.get("num_held"):
        kept = f"{count(stats['num_held'], 'row')} of missing products were kept"
        yield f"{kept}, for lines of the catalogue could not be read (`catalog.path`)"
    previous = stats["previous"] or {}
    for name, place in (("products", "catalog.path"), ("reviews", "reviews.path")):
        now, before = stats[f"num_{name}"], previous.get(f"num_{name}", 0)
        if now < _SHRUNK * before:
            yield f"only {now:,} {name} were read, the last run had {before:,} (`{place}`)"
    if not stats["num_products"] and not previous.get("num_products"):
        yield "the catalogue has no products (`catalog.path`)"
    new: Mapping[str, int] = stats["quarantine_new"]
    if sum(new.values()) > _MANY * stats["num_rows"]:
        yield f"{count(sum(new.values()), 'row')} went into quarantine{_word_reason(new)}"


def _word_success(stats: Mapping[str, Any]) -> Iterator[str]:
    products, num_inferred = count(stats["num_products"], "product"), stats["num_inferred"]
    changes = {name: stats[f"num_{name}"] for name in ("new", "changed", "deleted")}
    if stats["previous"] is None:
        yield f"the first run enriched {products}"
    elif any(changes.values()):
        yield f"{products} are current"
        yield "rows: " + ", ".join(f"{number:,} {name}" for name, number in changes.items() if number)
    else:
        yield f"nothing changed since the last run, {products} are current"
    yield f"the model was asked {count(num_inferred, 'question')}" if num_inferred else "the model was not asked"
    if stats["num_quarantined"]:
        num_new = sum(stats["quarantine_new"].values())
        share = f"{get_quarantined_share(stats):.1%}, {f'{num_new:,}' if num_new else 'none'} of them new"
        yield f"{count(stats['num_quarantined'], 'row')} in quarantine ({share})"

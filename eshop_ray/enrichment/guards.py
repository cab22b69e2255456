"""What must not happen unseen: an export that came out broken is told before anything is changed."""

from collections.abc import Iterable

from eshop_ray.enrichment.planning import Plan
from eshop_ray.enrichment.questions import DELETED
from eshop_ray.enrichment.run import Night
from eshop_ray.errors import UserError

_NOTHING = "nothing was changed"


def check_limits(run: Night, planned: Plan) -> None:
    """Refuse a night that would delete, ask anew or lose more than the config allows.

    A table without rows has nothing to lose.

    Raises:
        UserError: with the number, three products, and the setting that lets it through.
    """
    config, counts = run.config.enrich, run.counts
    live = {task: counts[f"live/{task}"] for task in config.tasks if counts[f"live/{task}"]}
    for task, num_live in live.items():
        num_left, num_moved = counts[f"left/{task}"], counts[f"moved/{task}"]
        if num_left > config.max_deleted_share * num_live:
            raise UserError(
                f"{num_left} of {num_live} products have left the catalogue since the last night "
                f"({_show(planned.samples[DELETED])}), more than enrich.max_deleted_share="
                f"{config.max_deleted_share:g} allows; {_NOTHING}. Mend the export; or, if they have left, run it once "
                "with enrich.max_deleted_share=1"
            )
        if num_moved > config.max_changed_share * num_live:
            raise UserError(
                f"{task}: the question about {num_moved} of {num_live} products is another than last night "
                f"({_show(planned.samples['changed'])}), more than enrich.max_changed_share="
                f"{config.max_changed_share:g} allows; {_NOTHING}. Look for renamed columns, missing reviews, other "
                "labels or settings; or, if that is right, run it once with enrich.max_changed_share=1"
            )
    if live:
        _check_trouble(run)


def _check_trouble(run: Night) -> None:
    """Refuse an input most of which cannot be asked about."""
    num_rows = run.counts["num_products"] * len(run.config.enrich.tasks) + run.counts["num_unreadable"]
    num_bad = run.counts["num_unreadable"] + sum(run.counts[f"trouble/{task}"] for task in run.config.enrich.tasks)
    limit = run.config.enrich.max_quarantined_share
    if num_rows and num_bad > limit * num_rows:
        raise UserError(
            f"{num_bad} of {num_rows} rows of the input cannot be asked about, more than "
            f"enrich.max_quarantined_share={limit:g} allows; {_NOTHING}. Mend the export, or raise the limit"
        )


def _show(products: Iterable[str]) -> str:
    return "e.g. " + ", ".join(sorted(products)) if products else "none is known"

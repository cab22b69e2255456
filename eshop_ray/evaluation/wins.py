"""In which groups one model is ahead of another by more than the choice of rows explains."""

from collections.abc import Sequence
from pathlib import Path

from eshop_ray.evaluation.evaluate import count_both, read_groups
from eshop_ray.schema import Row
from eshop_ray.tasks.metrics.bootstrap import is_clearly_better


def find_wins(predictions_dir: Path, other_dir: Path, level: float, seed: int) -> dict[str, bool]:
    """Compare two models that answered the same rows, group by group.

    Args:
        predictions_dir: Answers of the model that may be ahead.
        other_dir: Answers of the model that it is compared with.
        level: Of the paired bootstrap's interval, e.g. 0.9.
        seed: Of the bootstrap's draws.

    Returns:
        Group -> whether the whole interval of the difference lies above 0.

    Raises:
        UserError: if the two models did not answer the same rows.
    """
    others = dict(read_groups(other_dir))
    return {
        group: _is_win(group, rows, others.get(group, ()), level, seed) for group, rows in read_groups(predictions_dir)
    }


def _is_win(group: str, rows: Sequence[Row], others: Sequence[Row], level: float, seed: int) -> bool:
    return is_clearly_better(rows[0]["metric"], *count_both(group, rows, others), seed, level)

"""In which groups one model is ahead of another by more than the choice of rows explains."""

from pathlib import Path

from eshop_ray.evaluation.same_rows import check_same_rows
from eshop_ray.evaluation.tally import tally_groups
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
    check_same_rows(other_dir, predictions_dir)
    others = tally_groups(other_dir)
    wins = {}
    for group, tally in tally_groups(predictions_dir).items():
        _, own, other = tally.pair(others[group])
        wins[group] = is_clearly_better(tally.metric, own, other, seed, level)
    return wins

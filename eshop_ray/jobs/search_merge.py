"""Find the best way to merge the adapters of an experiment."""

import logging

from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.confirm import confirm, find_candidates, print_candidates, write_outcome
from eshop_ray.evaluation.experiments.members import find_tasks, list_members

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Measure all candidates, confirm the best, and write the chosen one as a recipe for `merge_lora`."""
    members = list_members(config, find_tasks(config))
    search = confirm(config, members, find_candidates(config, members))
    recipe = write_outcome(config, search)
    print_candidates(search)
    if not search["promoted"]:
        raise UserError(
            f"{search['verdict']} See {recipe}. Try more candidates (`search`), train longer, or raise "
            "`search.max_lost_share`"
        )
    logger.info("%s Run: eshop merge-lora %s", search["verdict"], recipe)

"""Remove what was derived from a product, or from a user's reviews: rows, trouble, old versions, reports."""

import logging
from collections.abc import Sequence
from dataclasses import asdict

from eshop_ray.config import Config
from eshop_ray.enrichment.erase import Erased, erase_product
from eshop_ray.enrichment.erase_reviewer import erase_reviewer
from eshop_ray.errors import UserError
from eshop_ray.secrets import hide_in_text

logger = logging.getLogger(__name__)


def run(config: Config, products: Sequence[str] = (), review_users: Sequence[str] = ()) -> None:
    """Erase products and what users' reviews led to, and say what was removed, and what is not a night's to remove.

    Args:
        config: `reviews`, `table.uri` and the run directory.
        products: Ids of products.
        review_users: Ids of users, as the files of reviews write them.

    Raises:
        UserError: if neither is named, or as `erase_product` and `erase_reviewer` do.
    """
    if not products and not review_users:
        raise UserError("name what is to be erased: --product ID or --review-user ID; see `eshop erase --help`")
    for user in review_users:
        _tell(erase_reviewer(config, user))
    if review_users:
        logger.info("the next night asks about these products again")
    for product in products:
        _tell(erase_product(config, product))
    if products:
        logger.info("take the products out of the catalogue and its reviews, or the next night asks about them again")
    logger.info("a search index keeps its copy until `eshop build-index` runs again")
    logger.info("models that learned from it, predictions of other jobs and copies elsewhere are not touched")


def _tell(erased: Erased) -> None:
    counts = {name: value for name, value in asdict(erased).items() if name.startswith("num_")}
    logger.info("erased: %s", ", ".join(f"{name} {value}" for name, value in counts.items()))
    if erased.num_unknown_rows:
        logger.warning(
            "%d rows stay that do not say whose reviews they were made from: the reviews had no `user_id`, or an "
            "earlier version wrote them and no night has run since; name their products, if the user may be in them",
            erased.num_unknown_rows,
        )
    for uri in erased.former_tables:
        logger.info("%s is a table of the first design, and stays as it is: delete it", hide_in_text(uri))

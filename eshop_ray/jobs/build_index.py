"""Build the search index over the enriched catalogue, or bring it up to date."""

import logging
from dataclasses import asdict

from eshop_ray.config import Config
from eshop_ray.data.few_shot.embeddings import digest_encoder, encode_texts
from eshop_ray.data.search_index import SearchIndex
from eshop_ray.enrichment.documents import read_documents

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Index what changed since the last time.

    Args:
        config: `catalog`, `reviews`, `table.uri` and `index`.

    Raises:
        UserError: if there is no catalogue or table, or the embedding model cannot be loaded.
    """
    changes = SearchIndex(config.index_uri, encode_texts).sync(read_documents(config), digest_encoder())
    counts = ", ".join(f"{name} {value}" for name, value in asdict(changes).items())
    logger.info("index: %s, num_embedded %d", counts, changes.num_embedded)

"""A list of labels for a person to look through, where a night has none."""

from eshop_ray.artifacts import list_paths
from eshop_ray.config import Config
from eshop_ray.data.files import list_files
from eshop_ray.data.labels import count_categories, write_proposal
from eshop_ray.places import place_of

PROPOSAL = "labels.txt"
"""In the run directory: what the catalogue names."""


def propose_labels(config: Config) -> str:
    """Write what the catalogue's files name as categories into the run directory, and return what is to be done.

    A list that stands there already may have been looked through, and is left as it is.
    """
    path = config.run_dir / PROPOSAL
    by_hand = "list them there, e.g. catalog.labels=[Kitchen, Garden]"
    if not config.catalog.path:
        return by_hand
    remedy = f"look through it, and run this again with catalog.labels={place_of(path)}"
    if list_paths(path.parent, PROPOSAL):
        return f"a list of the catalogue's categories stands in {place_of(path)}: {remedy}"
    files = list_files(config.data.root, config.catalog.path)
    counts = count_categories((file.path for file in files), config.catalog)
    if not counts:
        return f"no product names a category either (`catalog.columns` says which column it is): {by_hand}"
    write_proposal(path, counts)
    return f"the {len(counts)} categories of the catalogue are now in {place_of(path)}: {remedy}"

"""The labels of a night: those that a person has looked through, or a list to look through."""

from eshop_ray.config import Config
from eshop_ray.data.files import list_files
from eshop_ray.data.labels import choose_labels, count_categories, write_proposal
from eshop_ray.enrichment.questions import get_form
from eshop_ray.errors import UserError
from eshop_ray.tasks.product import LABELS

PROPOSAL = "labels.txt"
"""In the run directory: what the catalogue names, for a person to look through."""


def find_labels(config: Config) -> tuple[str, ...]:
    """Return `catalog.labels`; empty where no task of `enrich.tasks` chooses from labels.

    What a catalogue says never becomes a label by itself: a category that is misspelt, or written to mislead the model,
    would stand in the prompt of every other product.

    Raises:
        UserError: if they are missing; the catalogue's categories are then written as a proposal. Also if they cannot
            be read, or a prompt cannot hold so many.
    """
    needing = [task for task in config.enrich.tasks if LABELS in get_form(task).fields]
    if not needing:
        return ()
    labels = choose_labels("catalog.labels", config.catalog.labels, config.data.root, config.catalog)
    if not labels:
        raise UserError(
            f"`{needing[0]}` chooses from labels, and `catalog.labels` names none; {propose_labels(config)}"
        )
    return labels


def propose_labels(config: Config) -> str:
    """Write what the catalogue's files name as categories into the run directory, and return what is to be done.

    A list that stands there already may have been looked through, and is left as it is.
    """
    path = config.run_dir / PROPOSAL
    by_hand = "list them there, e.g. catalog.labels=[Kitchen, Garden]"
    if not config.catalog.path:
        return by_hand
    remedy = f"look through it, and run this again with catalog.labels={path}"
    if path.exists():
        return f"a list of the catalogue's categories stands in {path}: {remedy}"
    files = list_files(config.data.root, config.catalog.path)
    counts = count_categories((file.path for file in files), config.catalog)
    if not counts:
        return f"no product names a category either (`catalog.columns` says which column it is): {by_hand}"
    write_proposal(path, counts)
    return f"the {len(counts)} categories of the catalogue are now in {path}: {remedy}"

"""A user's reviews out of all that a night keeps: what was derived from them, found by the digest of the user's id."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.config import Config
from eshop_ray.data.files import open_bytes
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.products import look_up, read_id
from eshop_ray.enrichment.erase import Erased, Mask, delete_old, erase_examples, list_old, open_tables, take_out
from eshop_ray.enrichment.run import list_inputs, name_run
from eshop_ray.enrichment.scan import hash_reviewer
from eshop_ray.enrichment.staging import clear_abandoned
from eshop_ray.enrichment.table import DataFile, Table, Writer
from eshop_ray.errors import UserError
from eshop_ray.places import show
from eshop_ray.schema import Malformed
from eshop_ray.tasks import get_task
from eshop_ray.tasks.product import REVIEWS


def erase_reviewer(config: Config, user: str) -> Erased:
    """Remove what was derived from a user's reviews, from both tables and all their versions, reports and staging.

    The next night asks about these products again. Rows say by `reviewers` whom they come from, so that nothing else is
    needed once the reviews have left the shop's files.

    Args:
        config: `reviews`, `table.uri` and the run directory.
        user: The user's id, as the files of reviews write it.

    Raises:
        UserError: if that is no id, reviews of this user still stand in the files, there is no table, or its storage
            refuses.
    """
    user_id = read_id(user)
    if user_id is None:
        raise UserError("`--review-user`: that is no id of a user")
    _refuse_reviews_that_stand(config, user_id)
    erased, run_id = Erased(), name_run("erase")
    quarantine, enriched = open_tables(config, erased)
    enriched.load()  # says that there is none
    reviewer = hash_reviewer(user_id, enriched.get_id())

    def find(rows: pa.Table) -> Mask:
        return find_reviewer(rows["reviewers"], reviewer)

    writer = Writer(enriched, run_id)
    files = [file for file in writer.files if find(enriched.read_file(file, ["reviewers"])).any()]
    rows = take_out(enriched, writer, files, find, run_id)
    erased.num_rows = len(rows)
    asked = set(rows)
    for file in list(list_old(enriched, writer)):
        old = enriched.read_file(file, ["product_id", "reviewers"])
        if (is_found := find(old)).any():
            asked |= {(product, file.task) for product in old["product_id"].filter(pa.array(is_found)).to_pylist()}
            enriched.storage.delete(file.path)
            erased.num_old_files += 1
    _erase_trouble(quarantine, asked, run_id, erased)
    erased.num_examples = erase_examples(config.run_dir, lambda one: (one["product_id"], one["task"]) in asked)
    erased.num_staging_folders = clear_abandoned(config.run_dir)
    erased.num_unknown_rows = sum(
        _count_nameless(enriched, file) for file in writer.files if _reads_reviews(config, file)
    )
    return erased


def find_reviewer(reviewers: pa.ChunkedArray, reviewer: str) -> Mask:
    """Return which rows of a column of lists hold a reviewer."""
    column = reviewers.combine_chunks()
    mask = np.zeros(len(column), np.bool_)
    mask[pc.list_parent_indices(column).filter(pc.equal(pc.list_flatten(column), reviewer)).to_numpy()] = True
    return mask


def count_reviews(config: Config, user_id: str) -> int:
    """Return how many reviews of a user stand in the files of `reviews.path`.

    Raises:
        UserError: if a file cannot be read as a whole.
    """
    options, num_reviews = config.reviews, 0
    column = options.columns.get("user_id", "user_id")
    for file in list_inputs(config, options.path, "reviews.path") if options.path else ():
        with open_bytes(file["path"]) as stream:
            for row in read_rows(stream, show(file["path"]), options.file_options()):
                num_reviews += not isinstance(row, Malformed) and read_id(look_up(row[1], column)) == user_id
    return num_reviews


def _refuse_reviews_that_stand(config: Config, user_id: str) -> None:
    if num_reviews := count_reviews(config, user_id):
        raise UserError(
            f"{num_reviews} reviews of this user still stand in the files of `reviews.path`, and the next night would "
            "derive from them again; delete them in the shop, export again, and repeat this. Nothing was changed"
        )


def _erase_trouble(table: Table, asked: set[tuple[str, str | None]], run_id: str, erased: Erased) -> None:
    """Take what was asked about the reviews out of the quarantine, old versions included."""
    writer = Writer(table, run_id)

    def find(rows: pa.Table) -> Mask:
        pairs = zip(rows["product_id"].to_pylist(), rows["task"].to_pylist(), strict=True)
        return np.array([pair in asked for pair in pairs], np.bool_)

    erased.num_quarantined = len(take_out(table, writer, writer.files, find, run_id))
    erased.num_old_files += delete_old(table, writer, {product for product, _ in asked})


def _reads_reviews(config: Config, file: DataFile) -> bool:
    """Whether a file holds rows of a question that reads reviews."""
    name = str(file.task)
    if name not in config.enrich.tasks:
        return False
    question = config.enrich.questions.get(name)
    form = get_task((question.task if question else None) or name).product
    return form is not None and REVIEWS in form.fields


def _count_nameless(table: Table, file: DataFile) -> int:
    rows = table.read_file(file, ["prediction_key", "reviewers"])
    return int(pc.sum(pc.and_(pc.is_valid(rows["prediction_key"]), pc.is_null(rows["reviewers"]))).as_py() or 0)

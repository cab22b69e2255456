"""Our side: Parquet to Parquet by Ray Data."""

from contextlib import contextmanager
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq


@contextmanager
def prepared(job):
    # Imported here, before the clock starts, and in no process of another side.
    import ray

    from eshop_ray.cluster import set_data_context
    from eshop_ray.config.cleaning import NearDuplicatesSection, TextCleaningSection
    from eshop_ray.data.near_duplicates import remove_near_duplicates
    from eshop_ray.data.text_cleaning import clean_texts
    from eshop_ray.storage import Storage

    def work():
        rows = clean_texts(ray.data.read_parquet(job["rows"]), TextCleaningSection())
        if job["side"] != "ours_clean":
            good = rows.map_batches(lambda block: block.filter(pc.is_null(block["reason"])), batch_format="pyarrow")
            rows = remove_near_duplicates(good, NearDuplicatesSection(), Storage(f"{job['out']}/work")).kept
        rows.write_parquet(f"{job['out']}/rows")
        return sum(pq.read_metadata(path).num_rows for path in Path(job["out"], "rows").glob("*.parquet"))

    ray.init(address="local", num_cpus=job["workers"], include_dashboard=False, log_to_driver=False)
    set_data_context()
    try:
        yield work
    finally:
        ray.shutdown()

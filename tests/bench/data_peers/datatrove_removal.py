"""datatrove: Parquet to Parquet, its MinHash in its four steps, with as many hashes as it takes by itself."""

from contextlib import contextmanager
from pathlib import Path


class Blanks:
    """Splits words at blanks."""

    def word_tokenize(self, text):
        return text.split()


@contextmanager
def prepared(job):
    # Imported here, before the clock starts, and in no process of another side.
    import pyarrow.parquet as pq
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.formatters.base import BaseFormatter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers.parquet import ParquetWriter

    from tests.bench.data_peers.by_text import clean_text, is_good

    class Cleaner(BaseFormatter):
        name = "the same cleaning"

        def format(self, text):
            return clean_text(text)

    minhash.load_word_tokenizer = lambda _: Blanks()
    config = minhash.MinhashConfig(n_grams=5)
    out, tasks = job["out"], job["workers"]

    def execute(name, *steps, num_tasks=tasks):
        executor = LocalPipelineExecutor(
            [*steps], tasks=num_tasks, workers=job["workers"], logging_dir=f"{out}/logs/{name}"
        )
        executor.run()

    def read_clean():
        return ParquetReader(f"{out}/clean", glob_pattern="*.parquet")

    def work():
        good = LambdaFilter(lambda document: is_good(document.text))
        execute("clean", ParquetReader(job["rows"]), Cleaner(), good, ParquetWriter(f"{out}/clean"))
        execute("sign", read_clean(), minhash.MinhashDedupSignature(f"{out}/signatures", config))
        buckets = minhash.MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config)
        execute("buckets", buckets, num_tasks=config.num_buckets)
        execute("cluster", minhash.MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config), num_tasks=1)
        execute("filter", read_clean(), minhash.MinhashDedupFilter(f"{out}/remove"), ParquetWriter(f"{out}/rows"))
        return sum(pq.read_metadata(path).num_rows for path in Path(out, "rows").glob("*.parquet"))

    yield work

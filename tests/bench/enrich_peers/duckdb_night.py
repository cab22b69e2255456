"""The comparison of an unchanged night as one DuckDB statement: `PRODUCTS_JSONL REVIEWS_JSONL LAST_NIGHT_PARQUET`.

Prints rows, changed rows and seconds. Without a last night it writes one.
"""

import sys
import time
from pathlib import Path

import duckdb

KEYS = """
with reviews as (
    select parent_asin, string_agg(text, chr(30) order by helpful_vote desc, text) as texts
    from read_json('{reviews}', format='newline_delimited',
                   columns={{parent_asin: 'VARCHAR', text: 'VARCHAR', helpful_vote: 'BIGINT'}})
    group by 1
), products as (
    select p.*, coalesce(r.texts, '') as texts
    from read_json('{products}', format='newline_delimited',
                   columns={{id: 'VARCHAR', name: 'VARCHAR', category: 'VARCHAR', description: 'VARCHAR'}}) p
    left join reviews r on r.parent_asin = p.id
)
select id as product_id, 'ner_tagging' as task, sha256(concat_ws(chr(31), 'v1', 'model', name)) as key from products
union all
select id, 'classification', sha256(concat_ws(chr(31), 'v1', 'model', name, category, description)) from products
union all
select id, 'summarization', sha256(concat_ws(chr(31), 'v1', 'model', name, texts)) from products
"""


def main(products, reviews, last_night):
    connection = duckdb.connect()
    connection.execute("set threads = 2")
    keys = KEYS.format(products=products, reviews=reviews)
    if not Path(last_night).exists():
        connection.execute(f"copy ({keys}) to '{last_night}' (format parquet)")
    started = time.perf_counter()
    counts = connection.execute(
        f"select count(*), count(*) filter (last.key is null) from ({keys}) now "
        f"left join read_parquet('{last_night}') last using (product_id, task, key)"
    ).fetchone()
    print(*counts, round(time.perf_counter() - started, 2))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A shop in a folder, nights over it, and what its tables hold afterwards."""

import json
import shutil

import polars as pl

from eshop_ray.config import Config
from eshop_ray.enrichment.nightly import run_night
from eshop_ray.inference.engines.simulated.engine import digest_simulated
from eshop_ray.models import Model

COUNTED = ("num_new", "num_changed", "num_unchanged", "num_deleted", "num_quarantined", "num_postponed")
NOT_COMPARED = ("run_id", "inferred_at", "updated_at")


def product(number, name=None):
    category = ("Kitchen", "Garden")[number % 2]
    row = {"id": f"p{number}", "name": name or f"red scarf {number}", "category": category}
    return {**row, "description": f"warm number {number}"}


def review(number, text, votes=0):
    return {"parent_asin": f"p{number}", "text": text, "helpful_vote": votes, "rating": 5.0}


class Shop:
    """A catalogue and reviews; `faults` are the engine's `engine_kwargs`, `raw` is put behind the catalogue."""

    def __init__(self, folder, num_products=40):
        self.folder = folder
        self.products = [product(number) for number in range(num_products)]
        self.reviews = [review(number, f"fine thing {number}", number) for number in range(0, num_products, 2)]
        self.raw = b""
        self.faults = {}
        self.table = {"rows_per_file": 16, "commit_files": 2}

    def copy(self, folder):
        """The same shop elsewhere, its tables and runs included."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        other = Shop(folder)
        other.products, other.reviews, other.raw = list(self.products), list(self.reviews), self.raw
        other.faults, other.table = dict(self.faults), dict(self.table)
        return other

    def config(self, **sections):
        values = {
            "name": "shop",
            "run_root": str(self.folder / "runs"),
            "data": {"root": str(self.folder)},
            "catalog": {"path": "products.jsonl", "labels": ["Garden", "Kitchen"]},
            "reviews": {"path": "reviews.jsonl"},
            "table": self.table,
            "infer": {"engine": "simulated", "batch_size": 8, "engine_kwargs": self.faults},
            "enrich": {"max_quarantined_share": 1.0, "canary_rows": 12},
        }
        return Config.model_validate({**values, **sections})

    @property
    def digest(self):
        """What the job takes for the digest of the simulated model."""
        return digest_simulated(self.faults)

    def write(self):
        lines = "".join(json.dumps(row) + "\n" for row in self.products).encode()
        (self.folder / "products.jsonl").write_bytes(lines + self.raw)
        (self.folder / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.reviews))

    def write_config(self, **sections):
        """Write all that a job needs, and return the config's path."""
        self.write()
        path = self.folder / "enrich.json"
        path.write_text(json.dumps(self.config(**sections).model_dump(mode="json")))
        return str(path)

    def night(self, model="model", replay=False, **sections):
        self.write()
        stats = run_night(self.config(**sections), Model(None, model), replay)
        assert sum(stats[name] for name in COUNTED) == stats["num_rows"]
        return stats

    def statistics(self):
        """Those of the last run that ended."""
        return json.loads((self.folder / "runs" / "shop" / "enrichment.json").read_text())

    def rows(self):
        table = pl.read_delta(self.config().table_uri)
        assert table.select(pl.struct("product_id", "task").n_unique()).item() == len(table)
        return {(row["product_id"], row["task"]): row for row in table.to_dicts()}

    def quarantine(self):
        return pl.read_delta(self.config().quarantine_uri).to_dicts()

    def version(self):
        """The table's newest version; -1 where there is none."""
        entries = (self.folder / "runs" / "shop" / "enriched" / "_delta_log").glob("*.json")
        return max((int(path.stem) for path in entries), default=-1)


def timeless(rows):
    """What must not depend on who inferred a row, and when."""
    return {key: {name: value for name, value in row.items() if name not in NOT_COMPARED} for key, row in rows.items()}

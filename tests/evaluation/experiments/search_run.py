"""A search to be killed, in a Ray of its own; arguments: CONFIG ADAPTER_DIR..."""

import sys
from pathlib import Path

from eshop_ray.artifacts import write_json
from eshop_ray.cluster import start_ray
from eshop_ray.config import load_config
from eshop_ray.evaluation.experiments.search import search_losses
from eshop_ray.training.merging.adapters import AdapterFile


def main(config_path, *folders):
    config = load_config(config_path)
    start_ray(config.ray, num_cpus=1)
    adapters = [AdapterFile.open(Path(folder)) for folder in folders]
    tasks_of = {"one": ["ner_tagging"], "two": ["classification"]}
    found = search_losses(config, Path(config.model.source), adapters, tasks_of)
    write_json(config.run_dir / "search.json", found)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Finding the settings of bulk inference that answer fastest on the machine at hand.

rows of the run --> search --settings--> bench --rows/s--> search --> what is faster, and by how much --> config file
"""

import logging
from pathlib import Path

from eshop_ray.artifacts import share_folder, write_json
from eshop_ray.config import Config, load_config
from eshop_ray.inference.autotune.bench import EngineBench
from eshop_ray.inference.autotune.config_file import check_writable, edit_config
from eshop_ray.inference.autotune.knobs import find_changes, list_knobs
from eshop_ray.inference.autotune.report import print_trials, summarize, word_settings
from eshop_ray.inference.autotune.search import Search, SearchResult
from eshop_ray.inference.autotune.workload import read_workload
from eshop_ray.models import model_digest

__all__ = ["autotune", "check_tunable"]

OUTCOME = "autotune.json"

logger = logging.getLogger(__name__)


def check_tunable(config: Config, path: Path) -> None:
    """See, before anything starts, that there is something to tune and that it can be written down.

    Raises:
        UserError: if not.
    """
    list_knobs(config.infer)
    if config.autotune.write:
        check_writable(path)


def autotune(config: Config, model_dir: Path, path: Path) -> SearchResult:
    """Search, tell what was found, and write it into the config file if it is faster by more than noise.

    Args:
        config: Whose `infer` is to be beaten; the overrides of the command line count.
        model_dir: Folder of the model that answers.
        path: The config file. Of what is found, it gets the settings that it does not state already.

    Raises:
        UserError: if the settings as they are do not work, or there is no time to try others.
    """
    workload = read_workload(config)
    if len(workload) < config.autotune.num_rows:
        logger.info("measuring with %d rows, the split has no more that differ", len(workload))
    seconds = 60 * config.autotune.max_minutes
    with EngineBench(workload, share_folder(model_dir, config.run_dir), seconds) as bench:
        outcome = Search(bench, config.infer, seconds).run()
    print_trials(outcome)
    summary = summarize(outcome, len(workload), model_digest(model_dir))
    write_json(config.run_dir / OUTCOME, summary)
    if outcome.is_faster and config.autotune.write:
        _write(path, outcome)
    logger.info("%s", summary["verdict"])
    return outcome


def _write(path: Path, outcome: SearchResult) -> None:
    changes = find_changes(load_config(str(path)).infer, outcome.best)
    edit_config(path, changes)
    logger.info("written into %s: %s", path, word_settings(changes))

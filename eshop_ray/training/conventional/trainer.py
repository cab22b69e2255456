"""One training of a conventional model: records -> rows -> sampler -> Ray Train -> `conventional/`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train

from eshop_ray.artifacts import fingerprint, share_folder, share_stored
from eshop_ray.config import Config, ConventionalSection
from eshop_ray.models.conventional import Spec
from eshop_ray.models.conventional_weights import describe_source
from eshop_ray.places import place_of
from eshop_ray.progress import watch_workers
from eshop_ray.tasks import get_task, list_tasks
from eshop_ray.training.conventional.learner import ConventionalLearner
from eshop_ray.training.conventional.prepare import check_tasks, prepare
from eshop_ray.training.feed import Feed
from eshop_ray.training.loop import learn, set_up_device
from eshop_ray.training.precision import choose_precision
from eshop_ray.training.trainer import ELSEWHERE, Kept, check_weights, describe_trainer, fit, track

CONVENTIONAL = "conventional"
"""Name of the section, and of the folder in the run directory."""


def fingerprint_conventional(config: Config, records_digest: str, model_digest: str) -> str:
    """Return the digest of all that determines the model."""
    unimportant = {"source"} | ELSEWHERE | (set() if config.conventional.num_held_out else {"checkpoint_steps"})
    section = config.conventional.model_dump(exclude=unimportant)
    rows = [config.data.max_train_rows, config.train.shard, *filter(None, [config.data.groups])]
    versions = {name: get_task(name).version for name in config.data.tasks or list_tasks()}
    return fingerprint([CONVENTIONAL, section, rows, config.seed, versions, records_digest, model_digest])


def train_conventional(
    config: Config, model_dir: Path, spec: Spec, inputs: str, parents: Mapping[str, str]
) -> dict[str, Any]:
    """Train the model into `run_dir/conventional` and return what was counted.

    A run that was cut off goes on from its last checkpoint.

    Args:
        config: Of the run.
        model_dir: What the model starts from.
        spec: Of `check_conventional`.
        inputs: Digest of all that determines the model.
        parents: Digests of `base` and `records`.

    Raises:
        UserError: if a task has no row to learn from, or the loss is no number any more.
    """
    prepared, spec = prepare(config, model_dir, spec, inputs)
    train = choose_precision(config.conventional)
    section = {CONVENTIONAL: config.conventional.model_dump()}
    details = {"architecture": spec.architecture, "pretrained": spec.pretrained}
    kept = Kept(CONVENTIONAL, train, inputs, parents, {"method": spec.architecture}, details)
    with track(config, kept, section) as callbacks, watch_workers("training", prepared.num_rows) as board:
        settings = {
            "section": CONVENTIONAL,
            "model_dir": share_folder(model_dir, config.run_dir),
            "workdir": place_of(prepared.folder),
            "feed": Feed(share_stored(prepared.store.folder), place_of(prepared.folder), ray.put(prepared.sampler)),
            "seed": config.seed,
            "train": train.model_dump(),
            "spec": spec,
            "board": board,
        }
        trainer = describe_trainer(train_worker, settings, train, prepared, callbacks)
        return fit(trainer, prepared, config.run_dir / CONVENTIONAL, kept)


def check_conventional(config: Config, model_dir: Path, tasks: tuple[str, ...]) -> Spec:
    """Refuse what cannot be trained before anything is loaded, and return what the model will be.

    Args:
        config: Of the run.
        model_dir: What the model starts from.
        tasks: That have records to learn from.

    Raises:
        UserError: naming what does not fit.
    """
    section = config.conventional
    check_weights(section, CONVENTIONAL)
    check_tasks(section.architecture, tasks)
    return describe_source(model_dir, section.architecture, section.max_row_length)


def train_worker(settings: Mapping[str, Any]) -> None:
    """Run on each worker of Ray Train."""
    train = ConventionalSection(**settings["train"])
    device = set_up_device(train, ray.train.get_context().get_world_size())
    source = Path(settings["model_dir"])
    learn(settings, ConventionalLearner.build(source, train, settings["spec"], settings["seed"], device))

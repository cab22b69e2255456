"""Metrics of training for MLflow, beside the files of the run directory.

A training that goes on after a failure, or is submitted again, goes on in the same MLflow run: the run carries the
digest of what the training was made from. Training never waits long for a server, and never fails over one.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ray.train import Checkpoint, UserCallback

from eshop_ray.config import TrackingSection
from eshop_ray.errors import UserError
from eshop_ray.secrets import hide_in_text

logger = logging.getLogger(__name__)

INPUTS_TAG = "eshop_ray.inputs"
"""Tag of an MLflow run: the digest of everything that determines the training."""
HTTP_SETTINGS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Seconds that MLflow waits for a server, and how often it tries again, unless the user's environment says otherwise;
its own settings would hold training for minutes."""
REST_FACTOR = 20
"""A store in trouble is left alone this many times as long as the failed try took: training waits for it one
twentieth of the time at most."""
MAX_REASON = 200
"""Characters of an exception that are shown."""
MAX_VALUE = 500
"""Characters of a parameter that every version of MLflow takes."""

Point = tuple[str, float, int, int]
"""Metric, value, when it was reported, in milliseconds, and step."""


def check_tracking(tracking: TrackingSection) -> None:
    """Find out before training starts whether metrics can be tracked; does not ask a server.

    Raises:
        UserError: if MLflow is not installed, does not know the kind of URI, or the folder cannot be written.
    """
    if tracking.uri is None:
        return
    try:
        connect(tracking.uri)
    except ImportError as error:
        raise UserError(
            f"`tracking.uri` is set, but the package `{error.name}` is missing: `pip install mlflow-skinny`, or "
            "`pip install mlflow` for a database of its own (sqlite, postgresql, ...); or leave `tracking.uri` out"
        ) from None
    except Exception as error:  # MLflow's own exceptions, OSError: all mean that this place is no store
        raise UserError(
            f"`tracking.uri` {hide_in_text(tracking.uri)} cannot be used ({type(error).__name__}); it takes a folder, "
            "http://, https://, or, with the full `mlflow` package, a database such as sqlite:///PATH"
        ) from None


def connect(uri: str) -> Any:
    """Return an MLflow client of a server, database or folder; the folder is made if it is missing.

    Raises:
        Exception: whatever MLflow has to say.
    """
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow prefers databases and refuses folders otherwise
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name, value in HTTP_SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=resolve_uri(uri))


def resolve_uri(uri: str) -> str:
    """Make the path of a folder or of an SQLite file absolute: the controller may run in another folder."""
    scheme, separator, path = uri.partition("://")
    if scheme == "sqlite" and path.startswith("/") and not path.startswith("//"):
        return f"sqlite:///{Path(path[1:]).expanduser().absolute()}"
    return uri if separator or uri == "databricks" else str(Path(uri).expanduser().absolute())


def read_points(report: Mapping[str, Any], timestamp: int) -> Iterator[Point]:
    """Yield the metrics of one report of a worker."""
    for step, loss in report.get("losses") or [(report["step"], report["loss"])]:
        yield "loss", float(loss), timestamp, int(step)
    held_out = {f"held_out/{task}": loss for task, loss in (report.get("held_out") or {}).items()}
    for name, value in (*((name, report.get(name)) for name in ("learning_rate", "held_out_loss")), *held_out.items()):
        if value is not None:
            yield name, float(value), timestamp, int(report["step"])


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as MLflow's parameters: `{"train": {"method": "lora"}}` becomes `train.method`, all text."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)[:MAX_VALUE]
    return flat


class MlflowCallback(UserCallback):  # type: ignore[misc]
    """Logs `loss`, `learning_rate`, `held_out_loss` and `held_out/TASK` by step, and the settings as parameters.

    What could not be logged goes with a later report.
    """

    def __init__(self, tracking: TrackingSection, run_name: str, inputs: str, params: Mapping[str, Any]) -> None:
        """Take what identifies the run; nothing is opened yet, so that the callback can be sent to the controller.

        Args:
            tracking: Where to; its `uri` is set.
            run_name: Name of the run in MLflow.
            inputs: Digest of everything that determines the training.
            params: Settings and digests, nested as in the config; no secrets.
        """
        self._uri = resolve_uri(str(tracking.uri))
        self._experiment = tracking.experiment
        self._name = run_name
        self._inputs = inputs
        self._params = flatten(params)
        self._client: Any = None
        self._run_id: str | None = None
        self._unsent: list[Point] = []
        self._next_try = 0.0
        self._is_warned = False

    def after_report(
        self,
        run_context: Any,  # noqa: ARG002 - Ray Train's signature
        metrics: Sequence[Mapping[str, Any]],
        checkpoint: Checkpoint | None,  # noqa: ARG002
    ) -> None:
        """Log what the workers reported: all know the same, the first one's is taken."""
        self._unsent += read_points(metrics[0], timestamp=time.time_ns() // 1_000_000)
        if time.monotonic() >= self._next_try:
            self._try_to_log("RUNNING")

    def finish(self, status: Literal["FINISHED", "FAILED"] = "FINISHED") -> None:
        """Say in MLflow that the run is over; for the driver, when the adapter is complete or training gave up."""
        self._try_to_log(status)

    def _try_to_log(self, status: str) -> None:
        started = time.monotonic()
        try:
            self._log(status)
        except Exception as error:  # any trouble is the tracker's, never the training's
            now = time.monotonic()
            self._next_try = now + REST_FACTOR * (now - started)
            self._warn(error)

    def _log(self, status: str) -> None:
        """Log what is unsent; when MLflow raises, it may be logged in part, and is logged again."""
        from mlflow.entities import Metric

        self._run_id = self._run_id or self._open()
        self._client.log_batch(self._run_id, metrics=[Metric(*point) for point in self._unsent])
        self._unsent.clear()
        if status != "RUNNING":
            self._client.set_terminated(self._run_id, status)

    def _open(self) -> str:
        """Return the id of the run that carries the digest; it is made if there is none."""
        from mlflow.entities import Param

        self._client = connect(self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self._experiment)
        runs = self._client.search_runs([experiment], f"tags.`{INPUTS_TAG}` = '{self._inputs}'", max_results=1)
        tags = {INPUTS_TAG: self._inputs}
        run = runs[0] if runs else self._client.create_run(experiment, run_name=self._name, tags=tags)
        # MLflow refuses a parameter that changes, such as `train.num_workers`: the run keeps what it has.
        new = [Param(name, value) for name, value in self._params.items() if name not in run.data.params]
        self._client.log_batch(run.info.run_id, params=new)
        self._client.update_run(run.info.run_id, status="RUNNING")
        return str(run.info.run_id)

    def _warn(self, error: Exception) -> None:
        if not self._is_warned:
            self._is_warned = True
            logger.warning(
                "MLflow at %s does not take the metrics (%s: %s): training goes on, they are sent again later",
                hide_in_text(self._uri),
                type(error).__name__,
                hide_in_text(str(error))[:MAX_REASON],
            )

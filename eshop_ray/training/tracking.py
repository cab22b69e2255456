"""Metrics of training for MLflow, beside the files of the run directory.

A training that goes on after a failure, or is submitted again, goes on in the same MLflow run: the run carries the
digest of what the training was made from. Training never waits long for a server, and never fails over one.
"""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from ray.train import Checkpoint, UserCallback

from eshop_ray.config import TrackingSection
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

INPUTS_TAG = "eshop_ray.inputs"
"""Tag of an MLflow run: the digest of everything that determines the training."""
PATIENCE_S = 20.0
"""Training waits this long for a server that was well before."""
TROUBLED_PATIENCE_S = 1.0
"""And this long for one that was not."""
PAUSES_S = (0.0, 1.0, 4.0)
"""Seconds before each attempt of a delivery; it has failed when the last one did."""
MAX_POINTS = 1000
"""Metrics that MLflow takes in one call."""
MAX_PARAMS = 100
"""Parameters that MLflow takes in one call."""
MAX_REASON = 200
"""Characters of an exception that are shown."""
MAX_VALUE = 500
"""Characters of a parameter that every version of MLflow takes."""

Point = tuple[str, int, float, int]
"""Metric, step, value, and when it was reported, in milliseconds."""


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
            f"`tracking.uri` {hide_password(tracking.uri)} cannot be used ({type(error).__name__}); it takes a folder, "
            "http://, https://, or, with the full `mlflow` package, a database such as sqlite:///PATH"
        ) from None


def connect(uri: str) -> Any:
    """Return an MLflow client of a server, database or folder; the folder is made if it is missing.

    Raises:
        Exception: whatever MLflow has to say.
    """
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow prefers databases and refuses folders otherwise
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # `PAUSES_S` does that, without a warning for each
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=resolve_uri(uri))


def resolve_uri(uri: str) -> str:
    """Make the path of a folder or of an SQLite file absolute: the controller may run in another folder."""
    scheme, separator, path = uri.partition("://")
    if scheme == "sqlite" and path.startswith("/") and not path.startswith("//"):
        return f"sqlite:///{Path(path[1:]).expanduser().absolute()}"
    return uri if separator or uri == "databricks" else str(Path(uri).expanduser().absolute())


def hide_password(text: str) -> str:
    """Return a text without the user and password of its URIs."""
    return re.sub(r"://[^/@\s]*@", "://", text)


def read_points(report: Mapping[str, Any], timestamp: int) -> Iterator[Point]:
    """Yield the metrics of one report of a worker."""
    for step, loss in report.get("losses") or [(report["step"], report["loss"])]:
        yield "loss", int(step), float(loss), timestamp
    held_out = {f"held_out/{task}": loss for task, loss in (report.get("held_out") or {}).items()}
    for name, value in (*((name, report.get(name)) for name in ("learning_rate", "held_out_loss")), *held_out.items()):
        if value is not None:
            yield name, int(report["step"]), float(value), timestamp


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as MLflow's parameters: `{"train": {"method": "lora"}}` becomes `train.method`, all text."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)[:MAX_VALUE]
    return flat


@dataclass
class MlflowRun:
    """One run in MLflow, found or made when something is logged to it first."""

    tracking: TrackingSection
    name: str
    inputs: str
    params: dict[str, str]
    _client: Any = field(default=None, init=False)
    _run_id: str = field(default="", init=False)

    def log(self, points: Sequence[Point], status: str) -> None:
        """Log metrics and say how the run stands.

        Raises:
            Exception: whatever MLflow has to say; the metrics may then be logged in part, and again.
        """
        from mlflow.entities import Metric

        self._open()
        for start in range(0, len(points), MAX_POINTS):
            metrics = [Metric(name, value, at, step) for name, step, value, at in points[start : start + MAX_POINTS]]
            self._client.log_batch(self._run_id, metrics=metrics)
        if status != "RUNNING":
            self._client.set_terminated(self._run_id, status)

    def _open(self) -> None:
        if self._run_id:
            return
        self._client = connect(str(self.tracking.uri))
        name = self.tracking.experiment
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        runs = self._client.search_runs([experiment], f"tags.`{INPUTS_TAG}` = '{self.inputs}'", max_results=1)
        tags = {INPUTS_TAG: self.inputs}
        run = runs[0] if runs else self._client.create_run(experiment, run_name=self.name, tags=tags)
        self._log_params(run)
        self._client.update_run(run.info.run_id, status="RUNNING")
        self._run_id = run.info.run_id

    def _log_params(self, run: Any) -> None:
        """Log what the run does not have yet: MLflow refuses a parameter that changes, such as `train.num_workers`."""
        from mlflow.entities import Param

        new = [Param(name, value) for name, value in self.params.items() if name not in run.data.params]
        for start in range(0, len(new), MAX_PARAMS):
            self._client.log_batch(run.info.run_id, params=new[start : start + MAX_PARAMS])


class MlflowCallback(UserCallback):  # type: ignore[misc]
    """Logs `loss`, `learning_rate`, `held_out_loss` and `held_out/TASK` by step, and the settings as parameters.

    One thread at a time talks to MLflow. What it could not deliver goes with the next report.
    """

    def __init__(self, tracking: TrackingSection, run_name: str, inputs: str, params: Mapping[str, Any]) -> None:
        """Take what identifies the run; nothing is opened yet, so that the callback can be sent to the controller.

        Args:
            tracking: Where to; its `uri` is set.
            run_name: Name of the run in MLflow.
            inputs: Digest of everything that determines the training.
            params: Settings and digests, nested as in the config; no secrets.
        """
        resolved = tracking.model_copy(update={"uri": resolve_uri(str(tracking.uri))})
        self._run = MlflowRun(resolved, run_name, inputs, flatten(params))
        self._unsent: list[Point] = []
        self._sending: _Sending | None = None
        self._is_troubled = False
        self._is_warned = False

    def after_report(
        self,
        run_context: Any,  # noqa: ARG002 - Ray Train's signature
        metrics: Sequence[Mapping[str, Any]],
        checkpoint: Checkpoint | None,  # noqa: ARG002
    ) -> None:
        """Log what the workers reported: all know the same, the first one's is taken."""
        self._unsent += read_points(metrics[0], timestamp=time.time_ns() // 1_000_000)
        self._send("RUNNING")

    def finish(self, status: Literal["FINISHED", "FAILED"] = "FINISHED") -> None:
        """Say in MLflow that the run is over; for the driver, when the adapter is complete or training gave up."""
        self._send(status)

    def _send(self, status: str) -> None:
        if self._sending is not None:
            self._sending = self._await(self._sending)
        if self._sending is None:
            sending = _Sending(self._run, tuple(self._unsent), status)
            sending.start()
            self._sending = self._await(sending)

    def _await(self, sending: "_Sending") -> "_Sending | None":
        """Give a delivery time to end; return it if it has not."""
        sending.join(TROUBLED_PATIENCE_S if self._is_troubled else PATIENCE_S)
        if sending.is_alive():
            self._warn("no answer yet")
            return sending
        if sending.error is not None:
            self._warn(f"{type(sending.error).__name__}: {hide_password(str(sending.error))[:MAX_REASON]}")
            return None
        self._is_troubled = False
        del self._unsent[: len(sending.points)]
        return None

    def _warn(self, reason: str) -> None:
        self._is_troubled = True
        if not self._is_warned:
            self._is_warned = True
            logger.warning(
                "MLflow at %s does not take the metrics (%s): training goes on, they are sent again with later ones",
                hide_password(str(self._run.tracking.uri)),
                reason,
            )


class _Sending(Thread):
    """One delivery; a daemon, so that a server that hangs holds no process back."""

    def __init__(self, run: MlflowRun, points: Sequence[Point], status: str) -> None:
        super().__init__(name="mlflow", daemon=True)
        self.points = points
        self.error: Exception | None = None
        self._log = (run, status)

    def run(self) -> None:
        run, status = self._log
        for pause in PAUSES_S:
            time.sleep(pause)
            try:
                run.log(self.points, status)
                self.error = None
                return
            except Exception as error:  # any trouble is the tracker's, never the training's
                self.error = error

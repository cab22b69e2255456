"""The section of the endpoint that customers and colleagues use."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from eshop_ray.config.base import PositiveInt, Section

Seconds = Annotated[float, Field(gt=0)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]


class BatchesSection(Section):
    """Batches of requests: `/v1/files` and `/v1/batches` of the endpoint."""

    dir: str | None = None
    """Folder of their files, on the cluster's head node; None: `serve-batches/` of the run directory."""
    max_file_bytes: PositiveInt = 100 * 1024 * 1024
    """Bytes of an uploaded file at most."""
    max_stored_bytes: PositiveInt = 10 * 1024 * 1024 * 1024
    """Bytes of all files of a key, beyond which it uploads no more."""
    max_requests: PositiveInt = 50_000
    """Lines of a batch at most. Each may have `max_body_bytes`."""
    max_running: PositiveInt = 2
    """Batches that are answered at a time; those of one key come one after the other."""
    max_concurrent_requests: PositiveInt = 16
    """Requests of a batch that the model has in hand at a time."""
    keep_days: Annotated[float, Field(gt=0)] = 30.0
    """Days after which files, and batches that are over, are removed. No `completion_window` is longer."""


class ServeSection(Section):
    """The OpenAI-compatible endpoint."""

    model_id: str = "eshop"
    """Name that clients send as `model`."""
    adapters: dict[ModelName, str] = {}
    """Name that clients send as `model` -> folder or URI of a LoRA adapter of the base. The endpoint then has the base,
    as `model_id`, in place of `merged/`, and each adapter beside it, in one engine."""
    host: str = "127.0.0.1"
    """Address to listen on. Another than this machine's own is refused without API keys."""
    port: PositiveInt = 8000
    """Port to listen on."""
    metrics_port: PositiveInt | None = None
    """Port on which a Ray that `eshop serve` starts shows metrics to Prometheus, on all addresses of this machine and
    without a key; None: it shows none."""
    api_keys_file: str | None = None
    """File of API keys, a line each as `eshop make-key` writes it. It holds digests, never keys, and only its owner may
    read it. It is read again when it changes. On a cluster it stands on every node, e.g. as a mounted secret."""
    api_keys_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Name of an environment variable that holds the same lines, in place of the file."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients reach an endpoint that listens on this machine only, e.g. that of a reverse proxy which
    passes on `Host`. `localhost` and loopback addresses are always understood."""
    ledger_dir: str | None = None
    """Folder where the tokens that keys have spent are noted, on the cluster's head node; None: `serve-ledger/` of the
    run directory."""
    max_body_bytes: PositiveInt = 1024 * 1024
    """Bytes of a request at most."""
    max_concurrent_requests: PositiveInt = 256
    """Requests that each gateway has in hand at a time; the next one is answered 503."""
    request_seconds: Seconds = 300.0
    """Time that a request may take, from its first byte to the last of its answer."""
    drain_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Time that running answers have to end in after SIGTERM or Ctrl-C."""
    batches: BatchesSection = BatchesSection()
    """Batches of requests."""
    use_gpu: bool = False
    """One GPU per replica."""
    cpu_kvcache_gib: PositiveInt = 2
    """KV cache of a CPU replica, GiB."""
    engine_kwargs: dict[str, Any] = {}
    """Passed to vLLM's engine verbatim."""
    deployment_config: dict[str, Any] = {
        "max_ongoing_requests": 64,
        "max_queued_requests": 192,
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 32},
    }
    """Passed to Ray Serve verbatim, for the replicas that hold the model."""
    gateway_config: dict[str, Any] = {"num_replicas": 1, "max_ongoing_requests": 10_000}
    """Passed to Ray Serve verbatim, for the gateways between clients and the model. `max_ongoing_requests` stays above
    `max_concurrent_requests`, which is what refuses."""

    @model_validator(mode="after")
    def _have_a_name_each(self) -> "ServeSection":
        if self.model_id in self.adapters:
            raise ValueError(
                f"`adapters` has the name `{self.model_id}`, which is `model_id`; call the adapter another"
            )
        return self

"""Joining or starting Ray, what an engine needs of a machine, and refusing plans that no cluster could schedule."""

import logging
import os
import signal
import socket
from contextlib import closing, suppress

import ray
import ray.data

from eshop_ray.config import RaySection
from eshop_ray.errors import UserError

MAX_REASON_CHARACTERS = 300
MIN_LOCAL_CPUS = 4
"""Logical CPUs of a Ray started on a small machine: a pipeline of three stages needs that many to move at all."""
ANY_PORT = 0
METRICS_VARIABLE = "RAY_enable_metrics_collection"


def start_ray(config: RaySection, num_cpus: float, num_gpus: float = 0, metrics_port: int | None = ANY_PORT) -> None:
    """Join the configured cluster, or start Ray here, and check that the plan fits.

    Args:
        config: Where to run.
        num_cpus: Logical CPUs that the job holds at one time.
        num_gpus: GPUs that the job holds at one time.
        metrics_port: Where a Ray that starts here shows metrics; None: nowhere; `ANY_PORT`: where Ray likes.

    Raises:
        UserError: if the cluster, grown to its limit, has fewer: Ray itself would wait for ever, in silence.
    """
    address = config.address or os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        _init(config, address, metrics_port)
    limits = {**ray.cluster_resources(), **config.limits}
    where = "the cluster" if address else "this machine's Ray"
    for resource, needed in (("CPU", num_cpus), ("GPU", num_gpus)):
        if limits.get(resource, 0) < needed:
            remedy = f"add nodes with {resource}s, or say in `ray.limits` what it can grow to"
            if resource == "CPU" and not address:
                remedy = f"raise `ray.num_cpus` to at least {needed:g}"
            raise UserError(
                f"the job needs {needed:g} logical {resource}s at one time, {where} has {limits.get(resource, 0):g}; "
                f"{remedy}, or lower `num_workers` or `concurrency`"
            )


KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Environment of processes that compute on a CPU. They do so in a thread, and outside the main thread glibc hands every
freed activation back to the kernel and faults it in again for the next: that cost training a third of its throughput.
Huge pages spare the processor looking up small ones: a twentieth."""

WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""How OpenMP's threads wait: what a user says in either of them stands."""
SPIN_COUNT = "5500"
"""Turns, some 300 microseconds: longer than most waits for a thread that runs, shorter than one for a thread that does
not. More of them make training faster on a machine of its own and slower beside others; docs/benchmarks.md has both."""

NICENESS_VARIABLE = "RAY_worker_niceness"


def cpu_environment() -> dict[str, str]:
    """Return the environment of a process that computes on a CPU: how it keeps memory, and how its threads wait."""
    return KEEP_MEMORY | wait_environment()


def wait_environment() -> dict[str, str]:
    """Return how OpenMP's threads wait for one another: they look for a moment, then sleep.

    At the end of every parallel loop each thread waits for the last. GNU's OpenMP, which PyTorch brings, looks 300,000
    times before it sleeps (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html). Where other processes want
    the cores too, the awaited thread does not run because a waiting one does: most of the time goes into waiting.

    The library reads this when it is loaded, so it has to be in the environment that a process starts with. A user's
    own setting in the driver's environment is passed on as it is.
    """
    own = {name: os.environ[name] for name in WAIT_VARIABLES if name in os.environ}
    return own or {"GOMP_SPINCOUNT": SPIN_COUNT}


def cpu_engine_environment(kvcache_gib: int, num_threads: int | None = None) -> dict[str, str]:
    """Return the environment of a vLLM engine on CPUs.

    Ray sets one OpenMP thread per reserved CPU, and vLLM keeps one core free for itself: on two cores the model
    would be left with one. It does better with all of them. What vLLM itself keeps of a compiled CPU engine it cannot
    load again; the compiler's own cache can, and outlives a change of the engine's arguments.
    """
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(kvcache_gib),
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_USE_AOT_COMPILE": "0",
        "OMP_NUM_THREADS": str(num_threads or os.cpu_count() or 1),
    }


def _init(config: RaySection, address: str | None, metrics_port: int | None) -> None:
    if not address and metrics_port != ANY_PORT:
        _set_metrics_port(metrics_port)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _connect(config, address, metrics_port)
    except Exception as error:  # Ray raises that bare where a node is not up in time
        reason = " ".join(str(error).split())[:MAX_REASON_CHARACTERS] or type(error).__name__
        if address:
            remedy = "check `ray.address` or RAY_ADDRESS, and that the cluster is up (`ray status`)"
            raise UserError(f"the Ray cluster at {address} cannot be joined: {reason}; {remedy}") from error
        remedy = "look for memory, disk (`df /tmp`) and other Rays on this machine (`ray stop`)"
        raise UserError(f"Ray cannot be started here: {reason}; {remedy}") from error
    if handler is not None:  # of Python's
        with suppress(ValueError):  # outside the main thread
            signal.signal(signal.SIGTERM, handler)  # Ray's own prints a stack
    set_data_context()


def _connect(config: RaySection, address: str | None, metrics_port: int | None) -> None:
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    else:
        # Ray's workers would run at niceness 15: where somebody else computes they would get 3 % of a core, not half.
        os.environ.setdefault(NICENESS_VARIABLE, "0")
        num_cpus = config.num_cpus or max(MIN_LOCAL_CPUS, os.cpu_count() or 1)
        ray.init(
            address="local",  # without it Ray joins whatever runs on this machine, which has CPUs of its own
            num_cpus=num_cpus,
            include_dashboard=False,
            _metrics_export_port=metrics_port,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )


def _set_metrics_port(port: int | None) -> None:
    """Have a Ray that starts here show metrics on a port, or not at all: whoever reaches it may read it, without a key.

    Raises:
        UserError: if the port is in use: without it Ray's agent would end, and Ray with it.
    """
    if port is None:
        os.environ.setdefault(METRICS_VARIABLE, "0")
        return
    os.environ[METRICS_VARIABLE] = "1"
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(f"serve.metrics_port={port}: {error.strerror}; name another, or leave it out") from None


def set_data_context() -> None:
    """Have Ray Data say only what a user needs, and read Parquet in the tasks that need the rows.

    Its newer reader lists files and reads their footers in actors of its own first. For the folders of a run, a few
    files each, these took ten times as long as the reading.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.use_datasource_v2 = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)

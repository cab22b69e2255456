"""Real processes that tests start: a port for them, a search among them, and an end to them."""

import contextlib
import os
import signal
import socket
import subprocess

import psutil


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def find_processes(pid, name=""):
    """Processes below one, of a name; one that ends during the search is left out."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith(name[:15]) and " ".join(process.cmdline()).startswith(name):
                    found.append(process)
    return found


def stop(process, with_signal, seconds):
    """Ask a process that leads its own session to end, and end all of the session if it does not."""
    process.send_signal(with_signal)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def end_cluster(cluster):
    """End the nodes of a `ray.cluster_utils.Cluster` at once: asked to stop, they take seconds each."""
    for node in (*cluster.worker_nodes, cluster.head_node):
        cluster.remove_node(node, allow_graceful=False)

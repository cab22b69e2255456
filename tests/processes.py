"""Real processes that tests start: a port for them, and an end to them."""

import os
import signal
import socket
import subprocess


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def stop(process, with_signal, seconds):
    """Ask a process that leads its own session to end, and end all of the session if it does not."""
    process.send_signal(with_signal)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)

"""Waiting for a moment that a test cannot bring about: it says for what, and fails if the moment does not come."""

import sys
import time

PATIENCE_S = 240.0
"""Seconds that anything may take on a busy machine."""
SAY_AFTER_S = 30.0
POLL_S = 0.02


def announce(text):
    """Tell whoever watches the tests; conftest.py replaces this by what pytest does not hold back."""
    print(text, file=sys.stderr, flush=True)


def wait_until(is_reached, what, timeout_s=PATIENCE_S, is_running=lambda: True):
    """Wait for a moment.

    Args:
        is_reached: Returns something true once it has come.
        what: The moment, in words that follow "waiting for".
        timeout_s: After so many seconds the test fails.
        is_running: Whether it can still come.

    Returns:
        What `is_reached` returned; False if what was running ended before.
    """
    started = time.monotonic()
    next_word = SAY_AFTER_S
    while not (reached := is_reached()):
        if not is_running():
            return False
        seconds = time.monotonic() - started
        assert seconds < timeout_s, f"waited {seconds:.0f} s in vain for {what}"
        if seconds > next_word:
            announce(f"waiting for {what}, {seconds:.0f} s by now")
            next_word += SAY_AFTER_S
        time.sleep(POLL_S)
    return reached


def wait_for_exit(process, what, timeout_s=PATIENCE_S):
    """Return a child's exit status. Its output goes to a file or nowhere: a pipe that nobody reads would fill up."""
    wait_until(lambda: process.poll() is not None, f"{what} to end", timeout_s)
    return process.returncode

"""How a command ends before its work is done: one line on stderr, and an exit status that tells why.

2 for what the user can mend, 3 for a night that stopped at its budget, 4 for a run that a gate refuses, 130 after
Ctrl-C, 143 after SIGTERM.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from eshop_ray.cli.missing_packages import build_error
from eshop_ray.errors import UserError

GRACE_SECONDS = 8.0
"""What ends by itself after a signal has this time to do so."""
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

Handler = Callable[[int, FrameType | None], Any] | int | None
"""What Python says that a signal does."""


class _TerminatedError(BaseException):
    """SIGTERM came. No `except Exception` stops it."""


@contextmanager
def exit_cleanly(is_program: bool) -> Iterator[None]:
    """Turn a `UserError`, a package that is not installed, Ctrl-C and SIGTERM into one line and an exit status.

    Args:
        is_program: Whether the process is this command and nothing else: it is ended by force, with all that it
            started, if it does not end by itself after a signal.
    """
    former = _handle_sigterm()
    try:
        yield
    except UserError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "eshop_ray":
            raise
        _fail(build_error(error.name))
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED, is_program)
    except _TerminatedError:
        _stop("ended by SIGTERM", TERMINATED, is_program)
    except SystemExit as error:
        if error.code != signal.SIGTERM:
            raise
        _stop("ended by SIGTERM", TERMINATED, is_program)  # so Ray's handler says it, which replaces ours
    finally:
        if former is not None:
            signal.signal(signal.SIGTERM, former)


def _handle_sigterm() -> Handler:
    """Have SIGTERM raise, and return what it did before; None outside the main thread, which alone may say so."""

    def raise_it(_number: int, _frame: FrameType | None) -> None:
        raise _TerminatedError

    with suppress(ValueError):
        return signal.signal(signal.SIGTERM, raise_it)
    return None


def _fail(error: UserError) -> NoReturn:
    logging.disable()  # Ray complains, at length, of being shut down under a pipeline that still runs
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


def _stop(word: str, status: int, is_program: bool) -> NoReturn:
    if is_program:
        logging.disable()
    print(f"{word}; what is finished stays, and the same command goes on from there", file=sys.stderr, flush=True)
    if is_program:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        watchdog = threading.Timer(GRACE_SECONDS, _leave, [status])
        watchdog.daemon = True
        watchdog.start()
        if "ray" in sys.modules:
            with suppress(Exception):
                sys.modules["ray"].shutdown()
        _leave(status)
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """End the process at once, and all that it started: what still computes would go on for nobody."""
    import psutil

    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)

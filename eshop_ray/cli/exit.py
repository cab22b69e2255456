"""How a command ends that the user can mend: one message, and exit status 2."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from eshop_ray.cli.missing_packages import build_error
from eshop_ray.errors import UserError


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a `UserError`, or a package that is not installed, into one line on stderr and exit status 2."""
    try:
        yield
    except UserError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "eshop_ray":
            raise
        _fail(build_error(error.name))


def _fail(error: UserError) -> None:
    logging.disable()  # Ray complains, at length, of being shut down under a pipeline that still runs
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

"""Of some things there is one keeper at a time: a new one waits until the one before it has ended."""

import time
from collections.abc import Callable

from eshop_ray.errors import UserError

TAKE_OVER_SECONDS = 120.0


def take_over(open_books: Callable[[], None]) -> None:
    """Open what another process may still have.

    Raises:
        UserError: as `open_books`, if it still does so after `TAKE_OVER_SECONDS`.
    """
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    while True:
        try:
            return open_books()
        except UserError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)

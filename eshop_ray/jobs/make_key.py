"""Make an API key for the endpoint."""

import sys

from eshop_ray.serving.keys import make_key, write_line


def run(key_id: str, **limits: int | str | None) -> None:
    """Print the line of a key file on standard output, and the key, which is nowhere else, on standard error.

    Args:
        key_id: Names the key in logs.
        limits: Fields of `eshop_ray.serving.keys.ApiKey`.

    Raises:
        UserError: if the id or a limit is none.
    """
    key, known = make_key(key_id, **limits)
    print(write_line(known))
    print(f"the key, which is shown this once: {key}", file=sys.stderr)

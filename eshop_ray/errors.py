"""The one exception that jobs turn into a message and an exit status, and the name that a message proposes."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What the user can mend: the message names the thing, where it stands, and the remedy."""

    exit_status = 2


class BudgetSpentError(UserError):
    """A job stopped at its budget; all that was answered is kept."""

    exit_status = 3


def find_nearest(name: str, names: Iterable[str]) -> str:
    """Return the one of some names, of which there is at least one, that was probably meant."""
    return difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)[0]

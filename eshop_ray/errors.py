"""The one exception that jobs turn into a message and an exit status."""


class UserError(Exception):
    """What the user can mend: the message names the thing, where it stands, and the remedy."""

    exit_status = 2


class BudgetSpentError(UserError):
    """A job stopped at its budget; all that was answered is kept."""

    exit_status = 3

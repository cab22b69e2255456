"""The one exception that jobs turn into a message and exit status 2."""


class UserError(Exception):
    """What the user can mend: the message names the thing, where it stands, and the remedy."""

"""How a part says that it cannot run here, or that a figure is not what it has to be."""


class Absent(Exception):  # noqa: N818 - no error: the machine lacks something
    """The part cannot run on this machine; the message says why."""


class OutOfToleranceError(Exception):
    """A figure is not what it has to be; the message has both."""


def check_at_most(name, value, limit):
    """Refuse a figure above its limit, and one that is no number.

    Raises:
        OutOfToleranceError: naming it.
    """
    if not value <= limit:
        raise OutOfToleranceError(f"{name} is {value:.3g}, more than {limit:g}")

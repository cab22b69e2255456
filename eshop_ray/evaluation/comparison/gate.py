"""Whether a model may replace another: a file says how much each group may lose, and an exit status says if it did."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from eshop_ray.config.base import Section
from eshop_ray.config.loading import read_yaml
from eshop_ray.errors import UserError, find_nearest
from eshop_ray.evaluation.comparison.runs import Content
from eshop_ray.evaluation.significance import MIN_ROWS

Loss = Annotated[float, Field(ge=0, le=1)]


class GateError(UserError):
    """The second run loses more than the gate allows."""

    exit_status = 4


class Gate(Section):
    """A gate file."""

    max_loss: Loss = 0.0
    """How much of its score, in points between 0 and 1, a group may lose."""
    groups: dict[str, Loss] = {}
    """The same for groups of their own; of one of several metrics `GROUP (METRIC)` names a part."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """How sure one is to be."""
    fails: Literal["when_lost", "unless_kept"] = "when_lost"
    """`when_lost`: where the loss is surely larger. `unless_kept`: where it is not surely smaller, which takes more
    rows, 30 at least."""


def read_gate(path: Path) -> Gate:
    """Read a gate file.

    Raises:
        UserError: naming the file and the key.
    """
    return read_yaml(str(path), Gate, "gate", "keys such as `max_loss:`")


def check_gate(gate: Gate, comparison: Content) -> None:
    """Hold a comparison, whose intervals are of the gate's level, to the gate.

    Raises:
        GateError: naming every group that fails.
        UserError: if the gate names a group that is not there.
    """
    groups = comparison["groups"]
    whole = {group["group"] for group in groups.values()}
    for name in gate.groups:
        if name not in groups and name not in whole:
            nearest = find_nearest(name, groups)
            raise UserError(f"the gate names the group `{name}`, which was not answered; did you mean `{nearest}`?")
    failed = list(_list_failures(gate, groups))
    if failed:
        raise GateError(f"the gate is closed: {'; '.join(failed)}")


def _list_failures(gate: Gate, groups: dict[str, Any]) -> Iterator[str]:
    for name, group in groups.items():
        allowed = gate.groups.get(name, gate.groups.get(group["group"], gate.max_loss))
        test = group["test"]
        is_lost = test["high"] < -allowed and test["p_value"] < 1 - gate.level
        is_kept = test["low"] >= -allowed and test["num_clusters"] >= MIN_ROWS
        if is_lost if gate.fails == "when_lost" else not is_kept:
            words = "loses" if is_lost else "may lose"
            yield (
                f"`{name}` {words} more than {allowed:g} of {group['first']:.3f}: {test['difference']:+.3f}, between "
                f"{test['low']:+.3f} and {test['high']:+.3f} at {gate.level:.0%} ({group['num_rows']:,} rows)"
            )

"""What became of many requests -> figures; nothing here asks or waits."""

import itertools
import json
import math
from dataclasses import dataclass
from statistics import median

ANSWERED_OR_REFUSED = (200, 429, 503)
NOBODY, HUNG, BROKEN = 0, -1, -2
"""Statuses of requests that found nobody, that got nothing within their client's patience, that broke off."""


@dataclass(frozen=True, slots=True)
class Got:
    """One request, as its client saw it; moments in seconds of one clock."""

    began: float
    first: float | None
    """When the first token came."""
    ended: float
    status: int
    num_tokens: int = 0

    @property
    def seconds(self) -> float:
        """From the first byte sent to the last one read."""
        return self.ended - self.began


def find_percentile(values, share):
    """Return the smallest value that `share` of the values do not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def describe(got):
    """Return the figures of a level: rates of what was answered, seconds, and how many were not answered."""
    answered = [one for one in got if one.status == 200]
    span = max((one.ended for one in got), default=0.0) - min((one.began for one in got), default=0.0)
    latencies = [one.seconds for one in answered]
    firsts = [one.first - one.began for one in answered if one.first is not None]
    return {
        "requests": len(got),
        "answered": len(answered),
        "requests_per_second": len(answered) / span if span else 0.0,
        "tokens_per_second": sum(one.num_tokens for one in answered) / span if span else 0.0,
        "first_token_p50": find_percentile(firsts, 0.5),
        "first_token_p95": find_percentile(firsts, 0.95),
        **{f"latency_p{share:g}": find_percentile(latencies, share / 100) for share in (50, 95, 99)},
        "answered_or_refused_share": share_settled(got),
    }


def share_settled(got, limit=None):
    """Return the share of requests that got an answer or a refusal that says so, within a limit of seconds."""
    settled = [one for one in got if one.status in ANSWERED_OR_REFUSED and (limit is None or one.seconds <= limit)]
    return len(settled) / len(got) if got else None


def compare_levels(rounds, side, peer):
    """Return by level the median of our requests per second divided by the peer's, round by round.

    Args:
        rounds: Of each: side -> level -> figures, as `describe` returns them.
        side: Ours.
        peer: The other.
    """
    return {
        level: median(
            one[side][level]["requests_per_second"] / one[peer][level]["requests_per_second"] for one in rounds
        )
        for level in rounds[0][side]
    }


def find_saturation(rounds, peer):
    """Return the level at which the peer answers most in a second, by the median of the rounds."""
    levels = rounds[0][peer]
    return max(levels, key=lambda level: median(one[peer][level]["requests_per_second"] for one in rounds))


def compute_overhead(rounds):
    """Return what guards add to the 95th percentile, milliseconds: the median of the rounds' differences.

    Args:
        rounds: Of each: `guarded` and `bare`, seconds of requests.
    """
    differences = [find_percentile(one["guarded"], 0.95) - find_percentile(one["bare"], 0.95) for one in rounds]
    return 1000 * median(differences)


def compute_growth(early, late):
    """Return the largest of the processes' memory later divided by that earlier, by name."""
    return max(late[name] / early[name] for name in early)


def find_gap(got, since):
    """Return the longest time without an answer to anybody after a moment, until the last request ended; seconds."""
    until = max(one.ended for one in got)
    ends = sorted(one.ended for one in got if one.status == 200 and one.ended >= since)
    return max(later - earlier for earlier, later in itertools.pairwise([since, *ends, until]))


def write_options(arguments):
    """Return arguments of vLLM's engine as its command line writes them."""
    words = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return words

"""What to take for a task, in plain words that follow from the numbers: the best, or what is as good and cheaper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.evaluation.significance import MIN_ROWS, SIGNIFICANT, write_p_value
from eshop_ray.reporting.words import count

LABELS = {
    ("llm", "zero-shot"): "the base LLM",
    ("llm", "few-shot"): "the base LLM with examples in the prompt",
    ("llm", "single"): "the LLM tuned on it",
    ("llm", "mixed"): "the LLM tuned on all tasks",
    ("llm", "merged"): "the merged LLM",
    ("llm", "switched"): "the LLM with an adapter for each task",
    ("llm", "distilled"): "the LLM taught all tasks by their adapters",
    ("llm", "wise-ft"): "the LLM with a share of its tuning",
    ("llm", "soup"): "the LLM with a soup of adapters",
    ("encoder", "single"): "the encoder",
    ("seq2seq", "single"): "the sequence-to-sequence model",
}
"""Model and strategy -> what a verdict calls them."""

CHEAPER = 0.9
"""Of two that are as good, the one that costs at most so much of the other is cheaper: speeds are measured."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A model trained in one way, on the size that served it best."""

    model: str
    strategy: str
    size: int
    """Of its last step on the ladder."""
    score: float
    behind: Mapping[str, Any] | None
    """The best tested against this one; None for the best."""
    seconds_per_row: float | None
    """Of the engine; None where it was not measured."""
    growth: Mapping[str, Any] | None = None
    """The last step of the ladder tested against the one before it."""

    @property
    def label(self) -> str:
        """What a person calls it."""
        return LABELS[self.model, self.strategy]

    @property
    def is_clearly_behind(self) -> bool:
        """Whether the best is ahead by more than chance explains."""
        return self.behind is not None and self.behind["p_adjusted"] < SIGNIFICANT and self.behind["difference"] > 0


def choose(contenders: Sequence[Contender]) -> Contender:
    """Return what to take: of all that the best is not clearly ahead of, the cheapest; the best if none is cheaper."""
    best = next(one for one in contenders if one.behind is None)
    tied = [one for one in contenders if not one.is_clearly_behind]
    cheaper = [one for one in tied if is_cheaper(one, best)]
    if not cheaper:
        return best
    lowest = min(one.seconds_per_row or 0.0 for one in cheaper)
    return max((one for one in cheaper if (one.seconds_per_row or 0.0) * CHEAPER <= lowest), key=lambda one: one.score)


def is_cheaper(one: Contender, other: Contender) -> bool:
    """Whether one is known to cost clearly less than another."""
    if one.seconds_per_row is None or other.seconds_per_row is None:
        return False
    return one.seconds_per_row <= CHEAPER * other.seconds_per_row


def word_verdict(
    task: str,
    num_observations: int,
    contenders: Sequence[Contender],
    missing: Sequence[str] = (),
    untrained: Sequence[str] = (),
    unable: Sequence[str] = (),
    price: str = "time",
) -> str:
    """Say what to take for a task, against what, how sure that is, and what it costs.

    Args:
        task: Its name.
        num_observations: Rows that were answered, or what they belong to.
        contenders: What was measured; the best has no `behind`.
        missing: What was to be measured and was not.
        untrained: What began without any training, and does not count.
        unable: Models that do not write, where an answer has to be written.
        price: What costs are: `price`, or `time` where the price of an hour is not known.
    """
    notes = [
        *([f"Not compared, since missing: {'; '.join(missing)}."] if missing else []),
        *([f"Left out, since not pretrained: {'; '.join(untrained)}."] if untrained else []),
        *(f"The {model} is no choice: it does not write." for model in unable),
    ]
    return " ".join([_word_choice(task, num_observations, contenders, price), *notes])


def _word_choice(task: str, num_observations: int, contenders: Sequence[Contender], price: str) -> str:
    if not contenders:
        return f"For {task} there is no verdict: nothing that counts was measured."
    if num_observations < MIN_ROWS:
        return f"For {task} there is no verdict: {count(num_observations, 'row')} say little."
    chosen = choose(contenders)
    others = sorted((one for one in contenders if one is not chosen), key=lambda one: one.score, reverse=True)
    if not others:
        return f"For {task} only {chosen.label} was measured: {chosen.score:.3f}."
    rivals = _pick_rivals(chosen, others)
    against = " ".join(
        _compare(chosen, rival, num_observations, price, is_first=place == 0) for place, rival in enumerate(rivals)
    )
    return f"For {task} take {chosen.label}: {against}{_word_growth(chosen)}"


def _pick_rivals(chosen: Contender, others: Sequence[Contender]) -> list[Contender]:
    """Return whom the chosen one is compared with, of those that it was tested against.

    The best is named beside a cheaper one; beside the best the next one, and the first of another model.
    """
    if chosen.behind is not None:
        return [one for one in others if one.behind is None]
    known = {chosen.model, others[0].model}
    return [others[0], *[one for one in others if one.model not in known][:1]]


def _compare(chosen: Contender, rival: Contender, num_observations: int, price: str, is_first: bool) -> str:
    test = rival.behind or chosen.behind
    assert test is not None  # one of the two is not the best
    p_value = write_p_value(test["p_adjusted"])
    told = p_value if p_value.startswith("below") else f"= {p_value}"
    is_tie = not (rival.is_clearly_behind or chosen.is_clearly_behind)
    clear = "no clear difference" if is_tie else "a clear difference"
    could = f"; so many would show {test['detectable']:.3f}" if is_tie and test["detectable"] else ""
    sure = f"{clear} (p {told}, {count(num_observations, 'row')}{could}){_word_cost(chosen, rival, price)}."
    if is_first:
        return f"{chosen.score:.3f} against {rival.score:.3f} of {rival.label}, {sure}"
    return f"{rival.label[0].upper()}{rival.label[1:]} has {rival.score:.3f}: {sure}"


def _word_cost(chosen: Contender, rival: Contender, price: str) -> str:
    """Word what the chosen one costs, the other being the measure."""
    if not chosen.seconds_per_row or not rival.seconds_per_row:
        return ""
    ratio = chosen.seconds_per_row / rival.seconds_per_row
    if chosen.behind is not None:
        return f", at {ratio:.0%} of the {price}, which decides"
    if CHEAPER < ratio < 1 / CHEAPER:
        return f", at about the same {price}"
    return f", at {ratio:.0%} of the {price}" if ratio < 1 else f", at {ratio:.1f} times the {price}"


def _word_growth(chosen: Contender) -> str:
    """Word whether the last rows that were added helped."""
    test = chosen.growth
    if test is None:
        return ""
    if test["p_adjusted"] < SIGNIFICANT:
        word = "helped" if test["difference"] > 0 else "did harm"
        return f" The last step of the ladder, to {chosen.size:,} rows, {word} ({test['difference']:+.3f})."
    return (
        f" The last step of the ladder, to {chosen.size:,} rows, changed nothing clearly ({test['difference']:+.3f})."
    )

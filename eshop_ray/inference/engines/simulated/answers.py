"""What the simulated engine says: made up from the prompt alone, and within its constraint."""

import functools
import re
import zlib
from collections.abc import Iterable
from typing import Any

from eshop_ray.inference.requests import Answer, Failure
from eshop_ray.tasks import get_task

FREE_WORDS = 12
"""Words of a free answer."""


def make_answer(prompt: str, params: dict[str, Any], num_words: int | None = None) -> Answer | Failure:
    """Return the one answer that this prompt always gets.

    Args:
        prompt: All of it.
        params: Sampling parameters.
        num_words: How long the answer wants to be; None: as its words are.
    """
    try:
        words = write_text(prompt, params.get("structured_outputs")).split(" ")
    except ValueError as error:
        return Failure("engine", str(error))
    if num_words is not None:
        words = [words[index % len(words)] for index in range(min(num_words, params["max_tokens"] + 1))]
    kept = words[: params["max_tokens"]]
    return Answer(" ".join(kept), "length" if len(kept) < len(words) else "stop", len(prompt.split()), len(kept))


def write_text(prompt: str, output: dict[str, Any] | None) -> str:
    """Return text that the constraint allows.

    Raises:
        ValueError: for a constraint that cannot be simulated.
    """
    if output is None:
        return " ".join(prompt.rpartition("\n")[2].split()[:FREE_WORDS])
    if "choice" in output:
        return str(output["choice"][zlib.crc32(prompt.encode()) % len(output["choice"])])
    if "regex" in output:
        return _write_match(output["regex"])
    raise ValueError(f"simulated engine: no answer to a constraint of kind {', '.join(output)}")


def _write_match(regex: str) -> str:
    """Return a text that matches: for tagging, every word of the query with type `O`."""
    between, end = _tagging_pattern()
    if not regex.endswith(end):
        return _write_shortest(regex)
    words = regex.removesuffix(end).split(between)
    return " | ".join(re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL) + "=O" for word in words)


@functools.cache
def _tagging_pattern() -> tuple[str, str]:
    """Return what tagging's constraint puts between two words and after the last."""
    build = get_task("ner_tagging").output
    end = (build({"tokens": ["x"]}) or {})["regex"][1:]
    return (build({"tokens": ["x", "y"]}) or {})["regex"][1 : -1 - len(end)], end


@functools.lru_cache(maxsize=1024)
def _write_shortest(regex: str) -> str:
    """Return a text with the fewest repeats, the first of every choice."""
    from re import _parser  # type: ignore[attr-defined]

    return _write_nodes(_parser.parse(regex))


def _write_node(kind: Any, value: Any) -> str:
    match str(kind):
        case "LITERAL":
            return chr(value)
        case "RANGE":
            return chr(value[0])
        case "IN":
            return _write_nodes(value[:1])
        case "BRANCH":
            return _write_nodes(value[1][0])
        case "SUBPATTERN":
            return _write_nodes(value[3])
        case "MAX_REPEAT":
            return _write_nodes(value[2]) * int(value[0])
    raise ValueError(f"simulated engine: no answer to a regex with {kind}")


def _write_nodes(nodes: Iterable[tuple[Any, Any]]) -> str:
    return "".join(_write_node(*node) for node in nodes)

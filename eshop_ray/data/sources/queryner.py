"""QueryNER: product queries in CoNLL form, `token TAB tag` a line, a blank line between queries."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.formats.json_text import read_lines
from eshop_ray.schema import Malformed, Record


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:  # noqa: ARG001
    """Yield `ner_tagging` records: `tokens` and the target `{"tokens", "tags"}`, tags in IOB2.

    A query with a bad line is left out as a whole, and reported once with the number of that line.
    """
    tokens: list[str] = []
    tags: list[str] = []
    problem: Malformed | None = None
    for line in read_lines(stream, path):
        if isinstance(line, Malformed):
            problem = problem or line
            continue
        number, text = line
        if text.strip():
            reason = _append(text, tokens, tags)
            problem = problem or (Malformed(path, number, reason) if reason else None)
            continue
        yield from _finish(tokens, tags, problem)
        tokens, tags, problem = [], [], None
    yield from _finish(tokens, tags, problem)


def _append(text: str, tokens: list[str], tags: list[str]) -> str | None:
    """Take one line, and return what is wrong with it, if anything."""
    token, _, tag = text.partition("\t")
    previous = tags[-1] if tags else "O"
    tokens.append(token)
    tags.append(tag)
    if not token.strip() or "\t" in tag or not tag:
        return f"expected `token TAB tag`, found {text[:60]!r}"
    if token != token.strip() or " " in token:
        return f"token {token!r} holds a blank"
    if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3):
        return f"tag {tag!r} is neither O nor B- or I- with a type"
    if tag.startswith("I-") and previous[2:] != tag[2:]:
        return f"tag {tag!r} follows {previous!r}: a span begins with B-"
    return None


def _finish(tokens: list[str], tags: list[str], problem: Malformed | None) -> Iterator[Record | Malformed]:
    if problem is not None:
        yield problem
    elif tokens:
        yield {"task": "ner_tagging", "tokens": tokens, "target": {"tokens": tokens, "tags": tags}}

"""Questions of a block -> the calls in which engines are asked, and what their prompts begin with.

An engine computes once what prompts begin with alike, and keeps it for a while. So questions that begin alike belong
into one call, and a call to the engine that has met its beginnings before.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from eshop_ray.inference.requests import Outcome, Prompt, Request

PREFIX_BLOCK_TOKENS = 64
"""Prompts are compared in blocks of so many tokens."""

CHARS_PER_TOKEN = 4
"""Of text, about."""

MAX_KEPT = 20_000
"""Blocks that an engine is assumed to keep, the latest used ones: more than a million tokens."""


class RecentHashes:
    """The hashes of the prefix blocks met last."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._kept: OrderedDict[int, None] = OrderedDict()

    def add(self, prefix_hash: int) -> bool:
        """Keep a hash and return whether it is new."""
        is_new = prefix_hash not in self._kept
        self._kept[prefix_hash] = None
        self._kept.move_to_end(prefix_hash)
        if len(self._kept) > self._max_kept:
            self._kept.popitem(last=False)
        return is_new

    def count(self, prefix_hashes: Set[int]) -> int:
        """Return how many of the hashes are kept."""
        return len(self._kept.keys() & prefix_hashes)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


@dataclass(eq=False, slots=True)
class Call:
    """Requests that an engine is asked at once."""

    places: Sequence[int]
    """Where they stand in their block."""
    requests: Sequence[Request]
    prefix_hashes: Set[int]
    """What their prompts begin with, as far as other prompts may begin so too."""
    work: int
    """Tokens to read and at most to write."""
    done: "asyncio.Future[list[Outcome]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Who waits for it may be gone by then."""

    def succeed(self, outcomes: list[Outcome]) -> None:
        """Hand over the outcomes."""
        if not self.done.done():
            self.done.set_result(outcomes)

    def fail(self, error: Exception) -> None:
        """Hand over what is wrong."""
        if not self.done.done():
            self.done.set_exception(error)


def build_calls(requests: Sequence[Request], batch_size: int, met: RecentHashes) -> list[Call]:
    """Sort requests by prompt and cut them into calls.

    Args:
        requests: Of one block.
        batch_size: Requests per call at most.
        met: What prompts have begun with so far; added to.
    """
    order = sorted(range(len(requests)), key=lambda index: requests[index].prompt)
    calls = []
    for part in cut([requests[index].prompt for index in order], batch_size):
        places = order[part]
        chosen = [requests[index] for index in places]
        prefix_hashes = {prefix_hash for request in chosen for prefix_hash in hash_prefix(request.prompt, met)}
        calls.append(Call(places, chosen, prefix_hashes, sum(map(count_work, chosen))))
    return calls


def cut(prompts: Sequence[Prompt], batch_size: int) -> Iterator[slice]:
    """Cut sorted prompts into calls: within the last quarter of one, where neighbours share the shortest prefix."""
    start = 0
    while start < len(prompts):
        end = start + batch_size
        if end < len(prompts):
            ends = range(end, end - batch_size // 4 - 1, -1)
            end = min(
                ends, key=lambda end: count_shared(prompts[end - 1], prompts[end]) // measure_prefix_block(prompts[0])
            )
        yield slice(start, end)
        start = end


def count_shared(one: Prompt, other: Prompt) -> int:
    """Return how long two prompts are alike, in tokens or characters."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def hash_prefix(prompt: Prompt, met: RecentHashes) -> Iterator[int]:
    """Yield the hashes of the prefix blocks that were met before, and of the first that was not, which now is.

    A common prefix is learned one block per prompt. Of text that no other prompt shares, one block at most is hashed.
    """
    for prefix_hash in chain_prefix_hashes(prompt):
        yield prefix_hash
        if met.add(prefix_hash):
            return


def chain_prefix_hashes(prompt: Prompt) -> Iterator[int]:
    """Yield a hash for each whole block of a prompt, the same for prompts that are alike up to the block's end."""
    size = measure_prefix_block(prompt)
    chain = 0
    for start in range(0, len(prompt) - size + 1, size):
        block = prompt[start : start + size]
        chain = hash((chain, block if isinstance(block, str) else tuple(block)))
        yield chain


def measure_prefix_block(prompt: Prompt) -> int:
    """Return the length of a prefix block, in tokens or characters."""
    return PREFIX_BLOCK_TOKENS * CHARS_PER_TOKEN if isinstance(prompt, str) else PREFIX_BLOCK_TOKENS


def count_work(request: Request) -> int:
    """Return the tokens of a request, its prompt's and those that its answer may have."""
    num_read = len(request.prompt) // CHARS_PER_TOKEN if isinstance(request.prompt, str) else len(request.prompt)
    return num_read + int(request.params.get("max_tokens", 0))

"""Prompts -> tokens, beside the loop that feeds the engine: a record of a megabyte is not to make all answers wait."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.schema import Message
from eshop_ray.serving.calls import Call
from eshop_ray.serving.prompt_length import count_prompt_tokens

Made = TypeVar("Made")


class PromptThread:
    """Takes one prompt after the other: a tokenizer is not safe for several threads."""

    def __init__(self, load: Callable[[], Any]) -> None:
        """Begin none yet.

        Args:
            load: Returns the model's tokenizer.
        """
        self._load, self._thread = load, ThreadPoolExecutor(1)

    async def write_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the prompt's token ids."""
        return await self._run(lambda: tokenize_prompt(self._load(), messages))

    async def count_tokens(self, call: Call) -> int | None:
        """Return the tokens of a call's prompts together; None where they cannot be told."""
        return await self._run(lambda: count_prompt_tokens(self._load(), call))

    async def _run(self, make: Callable[[], Made]) -> Made:
        return await asyncio.get_running_loop().run_in_executor(self._thread, make)

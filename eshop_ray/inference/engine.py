"""What an engine is: the one signature behind which every model answers."""

from collections.abc import Callable

from ray.data import Dataset

Engine = Callable[[Dataset], Dataset]
"""Prompts -> answers, one block for each block, its rows in the same order.

Takes rows with at least `id, task, messages, sampling_params, error`; any other column passes through untouched.
Adds `generated_text`, `finish_reason` (`stop` or `length`), `num_input_tokens`, `num_generated_tokens` and
`num_attempts`, and `prediction` where the engine was built with a reader; fills in `error` where it has no answer.
May add `engine_seconds`: the row's share of the time in which engines were busy.
Rows that bring an `error`, or no messages, are not asked.
"""

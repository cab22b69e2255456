"""vLLM's arguments where the user states none: one table, for engines in a pipeline and behind an endpoint."""

from collections.abc import Mapping
from typing import Any

ANSWER_DEFAULTS: Mapping[str, Any] = {
    "max_model_len": 2048,
    "structured_outputs_config": {"backend": "guidance"},
}
"""What answers depend on.

Grammars differ from row to row (a query's own words). `guidance` builds its masks as it decodes; the default backend
compiles each grammar before the first token.
"""

SPEED_DEFAULTS: Mapping[str, Any] = {"enable_prefix_caching": True}

CPU_DEFAULTS: Mapping[str, Any] = {"dtype": "bfloat16", "block_size": 32, "max_num_seqs": 128}
"""On a CPU vLLM caches prefixes in blocks of 128 tokens, more than most instructions have; 32 are the fewest that its
attention takes."""

EAGER_BATCH_TOKENS = 4096
COMPILED_BATCH_TOKENS = 512
"""Tokens of one step on a CPU. Matrix products are fastest by 512 rows, in int8 above all; uncompiled, a step's own
cost is more than that."""


def build_arguments(stated: Mapping[str, Any], use_gpu: bool, eager: bool | None = True) -> dict[str, Any]:
    """Return the arguments of an engine, the stated ones first.

    Args:
        stated: What the user gives, e.g. `infer.engine_kwargs` or `serve.engine_kwargs`.
        use_gpu: Whether the engine runs on GPUs, where vLLM chooses well by itself.
        eager: Whether a CPU engine goes without compilation; None leaves it to what its machine has.
    """
    defaults = {**ANSWER_DEFAULTS, **SPEED_DEFAULTS}
    if not use_gpu:
        batch_tokens = EAGER_BATCH_TOKENS if eager else COMPILED_BATCH_TOKENS
        defaults |= {**CPU_DEFAULTS, "enforce_eager": eager, "max_num_batched_tokens": batch_tokens}
    return {**defaults, **stated}

"""`vllm run-batch` with an engine that answers at once: all that is its own stays, from the file to the results.

`python -m tests.bench.vllm_stub -i IN -o OUT --model FOLDER ...`
"""

import asyncio

from vllm.entrypoints.launchers.run_batch import main, parse_args
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.v1.engine.async_llm import AsyncLLM

ANSWER_TOKENS = 20


async def generate(_engine, prompt, _params, request_id, **_):
    """Answer with as many words as tokens; the engine behind it is started and never asked."""
    await asyncio.sleep(0)
    answer = CompletionOutput(0, "word " * ANSWER_TOKENS, [1] * ANSWER_TOKENS, None, None, finish_reason="stop")
    yield RequestOutput(request_id, None, prompt["prompt_token_ids"], None, [answer], finished=True)


if __name__ == "__main__":
    AsyncLLM.generate = generate
    asyncio.run(main(parse_args()))

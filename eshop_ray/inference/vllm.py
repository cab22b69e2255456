"""vLLM behind Ray Data LLM: prompts in, answers out, one engine per actor."""

from pathlib import Path
from typing import Any

from ray.data import Dataset

from eshop_ray.cluster import cpu_engine_environment
from eshop_ray.config import InferConfig
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.inference.base import Engine
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import PROMPT_SCHEMA, decode

ENGINE_ERROR = "__inference_error__"
"""Column by which Ray Data LLM marks rows that its engine skips or failed on."""

SKIPPED_PARAMS = {"temperature": 0.0, "max_tokens": 1}
"""`sampling_params` of a row that the engine skips. Were they empty, the batch's column would hold nulls, its integers
would become floats, and vLLM would die of a `max_tokens` of 64.0."""


def build_vllm(config: InferConfig, model_dir: Path) -> Engine:
    """Return an engine that runs the model in `config.concurrency` vLLM actors.

    Tokenising happens in plain tasks before the engine, with the code that training uses, so a prompt is the same
    ids in both; on a small machine it also saves three actors that would each want a CPU.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=str(model_dir),
            engine_kwargs=engine_kwargs(config),
            batch_size=config.batch_size,
            concurrency=(config.concurrency, config.concurrency),
            chat_template_stage=False,
            tokenize_stage=False,
            detokenize_stage=False,
            should_continue_on_error=True,
            log_engine_metrics=False,
            placement_group_config={"bundles": [{"CPU": 1, **({"GPU": 1} if config.use_gpu else {})}]},
            runtime_env={"env_vars": {} if config.use_gpu else cpu_engine_environment(config.cpu_kvcache_gib)},
        ),
        preprocess=lambda row: to_request(row, model_dir),
        postprocess=dict,
    )

    def answer(prompts: Dataset) -> Dataset:
        return processor(prompts).map(to_answer)

    return answer


def engine_kwargs(config: InferConfig) -> dict[str, Any]:
    """Return vLLM's arguments: ours where the user states none.

    Grammars differ from row to row (a query's own words), and `guidance` builds its masks as it decodes, where the
    default backend compiles each grammar before the first token. Eager mode starts a minute sooner on a CPU.
    """
    defaults: dict[str, Any] = {
        "max_model_len": 2048,
        "enable_prefix_caching": True,
        "structured_outputs_config": {"backend": "guidance"},
    }
    if not config.use_gpu:
        defaults.update(enforce_eager=True, dtype="bfloat16", max_num_seqs=64, max_num_batched_tokens=4096)
    return {**defaults, **config.engine_kwargs}


def to_request(row: dict[str, Any], model_dir: Path) -> dict[str, Any]:
    """Add what the engine reads; a row that already failed, or fails here, is marked so that the engine skips it."""
    request = {**row, ENGINE_ERROR: row["error"] or "", "sampling_params": SKIPPED_PARAMS, "tokenized_prompt": [0]}
    if row["error"]:
        return request
    try:
        request["tokenized_prompt"] = tokenize_prompt(load_tokenizer(model_dir), row["messages"])
        request["sampling_params"] = decode(row["sampling_params"])
    except Exception as error:  # whatever one row holds, the other rows go on
        request[ENGINE_ERROR] = f"tokenize: {type(error).__name__}: {error}"
    return {**request, "request_params": row["sampling_params"]}


def to_answer(row: dict[str, Any]) -> dict[str, Any]:
    """Bring every row, answered or failed, into one set of columns."""
    answer = {name: row.get(name) for name in PROMPT_SCHEMA.names}
    answer["sampling_params"] = row.get("request_params")
    failure = row.get(ENGINE_ERROR)
    if failure and not answer["error"]:
        answer["error"] = failure if failure.startswith("tokenize:") else f"engine: {failure}"
    if answer["error"]:
        return {**answer, "generated_text": None, "finish_reason": None, **dict.fromkeys(_COUNTS, 0)}
    num_generated = int(row["num_generated_tokens"])
    # The engine stage does not hand on why it stopped; an answer as long as allowed was cut off.
    was_cut = num_generated >= decode(row["request_params"])["max_tokens"]
    return {
        **answer,
        "generated_text": row["generated_text"],
        "finish_reason": "length" if was_cut else "stop",
        "num_input_tokens": int(row["num_input_tokens"]),
        "num_generated_tokens": num_generated,
    }


_COUNTS = ("num_input_tokens", "num_generated_tokens")

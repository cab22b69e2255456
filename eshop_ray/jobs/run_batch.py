"""Answer an OpenAI batch file, like `vllm run-batch`."""

import logging
from collections.abc import Sequence
from pathlib import Path

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import Config
from eshop_ray.inference.answer_identity import identify_engine
from eshop_ray.inference.build import find_answering_model, start_engine
from eshop_ray.inference.openai_batch import (
    DEFAULT_MAX_TOKENS,
    BatchFiles,
    Rules,
    answer_batch,
    check_failures,
    check_models,
    look_through,
    name_errors,
    open_batch,
    read_defaults,
)

WHOLE_CONTEXT = -1
"""vLLM's word for it, as `max_model_len`."""

logger = logging.getLogger(__name__)


def run(
    config: Config,
    source: str,
    output: Path,
    errors: Path | None = None,
    served_model_names: Sequence[str] = (),
    max_tokens: int = DEFAULT_MAX_TOKENS,
    max_failed_share: float = 0.5,
    retry_failed: bool = False,
) -> None:
    """Answer what has no result yet.

    Args:
        config: Model, engine and Ray.
        source: Requests, one JSON object a line; a local path, s3:// or gs://.
        output: Where answers are added; what stands there is not asked again.
        errors: Where failures are added; beside `output` unless named.
        served_model_names: What requests may name as their `model`; `model.source` unless given.
        max_tokens: Of requests that do not say.
        max_failed_share: Share of failures above which the run ends as failed.
        retry_failed: Whether to ask again what failed in an earlier run, even if nothing changed.

    Raises:
        UserError: if the requests cannot be read, are all for another model, or failed for the most part, or if
            `output` was begun in another way.
    """
    config = use_whole_context(config)
    requests = look_through(source, config.infer)
    model = find_answering_model(config, "base")
    folder = model.folder or Path()
    rules = Rules(tuple(served_model_names) or (config.model.source,), read_defaults(model.folder, max_tokens))
    check_models(requests, rules)
    identity = {"model": model.digest, "engine": identify_batch(config), "max_tokens": max_tokens}
    failures = fingerprint([config.infer.model_dump(mode="json"), config.serve.model_dump(mode="json"), rules])
    with BatchFiles(output, errors or name_errors(output)) as files:
        batch = open_batch(files, requests, config.infer, identity, failures, retry_failed)
        if batch.num_open:
            start_engine(config, model)
        counts = answer_batch(batch, files, config.infer, folder, rules)
        for name, count in counts.items():
            logger.info("%-32s %9d", name, count)
        check_failures(counts, files, max_failed_share)


def use_whole_context(config: Config) -> Config:
    """Return the config with the model's own context, or what of it fits into the cache, unless another is stated."""
    if config.infer.engine not in ("vllm", "serve"):
        return config
    section = "serve" if config.infer.engine == "serve" else "infer"
    stated = getattr(config, section)
    arguments = {"max_model_len": WHOLE_CONTEXT, **stated.engine_kwargs}
    return config.model_copy(update={section: stated.model_copy(update={"engine_kwargs": arguments})})


def identify_batch(config: Config) -> str:
    """Return the digest of what an answer depends on, beside model and request.

    The length of the context is not among it: what fits is answered as in a longer one, what does not fit fails.
    """
    engine = identify_engine(config.infer, config.serve, "")
    arguments = {name: value for name, value in engine.get("engine_kwargs", {}).items() if name != "max_model_len"}
    return fingerprint({**engine, "engine_kwargs": arguments})

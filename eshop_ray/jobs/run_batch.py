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
    look_through,
    name_errors,
    open_batch,
    read_defaults,
)

logger = logging.getLogger(__name__)


def run(
    config: Config,
    source: str,
    output: Path,
    errors: Path | None = None,
    served_model_names: Sequence[str] = (),
    max_tokens: int = DEFAULT_MAX_TOKENS,
) -> None:
    """Answer what has no result yet.

    Args:
        config: Model, engine and Ray.
        source: Requests, one JSON object a line; a local path, s3:// or gs://.
        output: Where answers are added; what stands there is not asked again.
        errors: Where failures are added; beside `output` unless named.
        served_model_names: What requests may name as their `model`; `model.source` unless given.
        max_tokens: Of requests that do not say.

    Raises:
        UserError: if the requests cannot be read, or `output` was begun in another way.
    """
    requests = look_through(source, config.infer)
    model = find_answering_model(config, "base")
    folder = model.folder or Path()
    rules = Rules(tuple(served_model_names) or (config.model.source,), read_defaults(model.folder, max_tokens))
    engine = fingerprint(identify_engine(config.infer, config.serve, ""))
    identity = {"model": model.digest, "engine": engine, "max_tokens": max_tokens}
    with BatchFiles(output, errors or name_errors(output)) as files:
        batch = open_batch(files, requests, config.infer, identity)
        if batch.num_open:
            start_engine(config, model)
        for name, count in answer_batch(batch, files, config.infer, folder, rules).items():
            logger.info("%-32s %9d", name, count)

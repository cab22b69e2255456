"""Answer an OpenAI batch file, like `vllm run-batch`."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import Config
from eshop_ray.data.template_gap import warn_of_gap
from eshop_ray.errors import UserError
from eshop_ray.inference.answer_identity import identify_engine
from eshop_ray.inference.build import find_answering_model, start_engine
from eshop_ray.inference.openai_batch import (
    BatchFiles,
    Rules,
    answer_batch,
    check_failures,
    check_models,
    look_through,
    name_errors,
    open_batch,
)
from eshop_ray.inference.openai_batch.source import Source
from eshop_ray.inference.openai_batch.transfer import borrow_input, deliver, keep_stdout, must_deliver
from eshop_ray.models import Model
from eshop_ray.places import show

WHOLE_CONTEXT = -1
"""vLLM's word for it, as `max_model_len`."""

logger = logging.getLogger(__name__)


def run(
    config: Config,
    source: str,
    output: str,
    errors: Path | None = None,
    served_model_names: Sequence[str] = (),
    max_tokens: int | None = None,
    max_failed_share: float = 0.5,
    retry_failed: bool = False,
    output_tmp_dir: Path | None = None,
) -> None:
    """Answer what has no result yet.

    Args:
        config: Model, engine and Ray.
        source: Requests, one JSON object a line; a local path, a pipe, s3://, gs:// or https://.
        output: Where answers are added; what stands there is not asked again. A pipe or an address of the web gets all
            at the end, failures too unless `errors` is named.
        errors: Where failures are added; beside `output` unless named.
        served_model_names: What requests may name as their `model`; `model.source` unless given.
        max_tokens: Of answers to requests that do not say; None: as vLLM's server has it, what is left of the context
            for a chat.
        max_failed_share: Share of failures above which the run ends as failed.
        retry_failed: Whether to ask again what failed in an earlier run, even if nothing changed.
        output_tmp_dir: Where results are kept until they are sent to an `output` that cannot be added to, in the run
            directory unless named; a rerun goes on from there.

    Raises:
        UserError: if the requests cannot be read, are all for another model, or failed for the most part, or if
            `output` was begun in another way.
    """
    if max_tokens is not None and max_tokens < 1:
        raise UserError(f"--max-tokens {max_tokens}: an answer needs 1 or more")
    config = answer_as_vllm(config)
    names = tuple(served_model_names) or (config.model.source,)
    rules = Rules((*names, *list_adapters(config)), max_tokens)
    is_delivered = must_deliver(output)
    name = fingerprint([show(source), show(output)])[:16]
    workspace = config.run_dir / "batch"
    local = (output_tmp_dir or workspace) / f"{name}.jsonl" if is_delivered else Path(output)
    kept_errors = None if is_delivered else errors
    with keep_stdout(output) as stdout, borrow_input(source, workspace, name) as path:
        requests = look_through(path, config.infer)
        check_models(requests, rules)
        model = find_answering_model(config, "base", for_chat=False)
        if model.folder:
            section = config.serve if config.infer.engine == "serve" else config.infer
            warn_of_gap(model.folder, section.engine_kwargs)
        with BatchFiles(local, kept_errors or name_errors(local)) as files:
            counts = answer(config, model, requests, files, rules, retry_failed)
            codes, where = files.count_codes(), str(files.errors)
            if is_delivered:
                deliver([local] if errors else [local, files.errors], output, stdout)
                if errors:
                    deliver([files.errors], str(errors), None)
                files.remove()
                where = str(errors or show(output))
    check_failures(counts, codes, max_failed_share, where)


def answer(
    config: Config, model: Model, requests: Source, files: BatchFiles, rules: Rules, retry_failed: bool
) -> Counter[str]:
    """Answer what has no result in these files, and return `num_answered` and `num_failed` in all."""
    identity = {"model": model.digest, "engine": identify_batch(config), "max_tokens": rules.max_tokens}
    failures = fingerprint([config.infer.model_dump(mode="json"), config.serve.model_dump(mode="json"), rules])
    batch = open_batch(files, requests, config.infer, identity, failures, retry_failed)
    if batch.num_open:
        start_engine(config, model)
    counts = answer_batch(batch, files, config.infer, model.share(config.run_dir), rules)
    for name, count in counts.items():
        logger.info("%-32s %9d", name, count)
    return counts


def list_adapters(config: Config) -> list[str]:
    """Return the names of adapters that requests may ask for instead of the model: vLLM's `lora_modules`."""
    stated = config.infer.engine_kwargs.get("lora_modules") or []
    return [one.partition("=")[0] if isinstance(one, str) else one["name"] for one in stated]


def answer_as_vllm(config: Config) -> Config:
    """Return the config with vLLM's own defaults where the pipeline has others, unless something else is stated.

    The context is the model's own, or what of it fits into the cache. Calls of tools have grammars that our usual
    backend cannot read; vLLM's choice goes by the grammar. Models that embed have no prefixes to keep.
    """
    if config.infer.engine == "vllm":
        defaults = {
            "max_model_len": WHOLE_CONTEXT,
            "structured_outputs_config": {"backend": "auto"},
            "enable_prefix_caching": None,
        }
        infer = config.infer.model_copy(update={"engine_kwargs": {**defaults, **config.infer.engine_kwargs}})
        return config.model_copy(update={"infer": infer})
    if config.infer.engine == "serve":
        arguments = {"max_model_len": WHOLE_CONTEXT, **config.serve.engine_kwargs}
        return config.model_copy(update={"serve": config.serve.model_copy(update={"engine_kwargs": arguments})})
    return config


def identify_batch(config: Config) -> str:
    """Return the digest of what an answer depends on, beside model and request.

    The length of the context is not among it: what fits is answered as in a longer one, what does not fit fails.
    """
    engine = identify_engine(config.infer, config.serve, "")
    arguments = {name: value for name, value in engine.get("engine_kwargs", {}).items() if name != "max_model_len"}
    return fingerprint({**engine, "engine_kwargs": arguments})

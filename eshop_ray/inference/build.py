"""Which engine a config names, and what has to run before it can be asked: Ray, and the deployment it asks."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from eshop_ray.artifacts import AnyFolder
from eshop_ray.cluster import start_ray
from eshop_ray.config import CONVENTIONAL_ENGINES, Config, InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.api_form import ApiForm
from eshop_ray.inference.dispatch.stage import CALLS_PER_BLOCK
from eshop_ray.inference.engine import Engine
from eshop_ray.inference.quantization.platform import check_model
from eshop_ray.inference.reading import Reader
from eshop_ray.models import Model, find_model, model_digest
from eshop_ray.tasks import Task

if TYPE_CHECKING:
    from eshop_ray.inference.engines.openai.endpoint import Endpoint


def build_engine(
    config: InferSection,
    model_dir: AnyFolder,
    reader: Reader | None = None,
    num_rows: int | None = None,
    tasks: Mapping[str, Task] | None = None,
    endpoint: "Endpoint | None" = None,
) -> Engine:
    """Return the configured engine for a model.

    Imports the engine's module only now: the oracle must run where vLLM is not installed.

    Args:
        config: Which engine, and how it is asked.
        model_dir: Folder of the model.
        reader: Reads each answer, and decides which deserve one more try in the same batch; tokens of both tries add
            up. None: answers are not read.
        num_rows: Rows that it will be asked, if that is known: an engine that works long may take longer to start.
        tasks: What the names in `task` stand for; None: tasks of that name.
        endpoint: From `use_endpoint`; the engine `openai` asks it.
    """
    if endpoint:
        from eshop_ray.inference.engines.openai.endpoint import build_openai

        return build_openai(config, endpoint, reader)
    assert config.engine != "openai"
    if config.engine == "oracle":
        from eshop_ray.inference.engines.oracle import build_oracle

        return build_oracle(reader)
    if config.engine == "simulated":
        from eshop_ray.inference.engines.simulated.build import build_simulated

        return build_simulated(config, reader)
    if config.engine == "serve":
        from eshop_ray.inference.engines.serve import build_serve

        return build_serve(config, model_dir, reader)
    if config.engine in CONVENTIONAL_ENGINES:
        from eshop_ray.inference.engines.conventional import build_conventional

        return build_conventional(config, model_dir, reader, tasks)
    from eshop_ray.inference.engines.vllm import build_vllm

    return build_vllm(config, model_dir, reader, num_rows)


def build_api_engine(
    config: InferSection, model_dir: AnyFolder, served_names: Sequence[str], num_rows: int | None = None
) -> Engine:
    """Return the configured engine for requests to OpenAI's API, in columns of `eshop_ray.inference.dispatch.api_form`.

    Args:
        config: Which engine, and how it is asked.
        model_dir: Folder of the model.
        served_names: What requests call it.
        num_rows: Rows that it will be asked, if that is known.

    Raises:
        UserError: if it takes no such requests.
    """
    if config.engine == "openai":
        raise UserError("infer.engine=openai answers no batch files; send them to the endpoint itself, or use vllm")
    if config.engine == "simulated":
        from eshop_ray.inference.engines.simulated.build import build_simulated

        return build_simulated(config, form=ApiForm())
    if config.engine == "serve":
        from eshop_ray.inference.engines.serve import build_serve_api

        return build_serve_api(config, model_dir)
    if config.engine in CONVENTIONAL_ENGINES:
        raise UserError(f"infer.engine={config.engine} does not answer requests to OpenAI's API; use vllm or serve")
    from eshop_ray.inference.engines.vllm import build_vllm_api

    return build_vllm_api(config, model_dir, served_names, num_rows)


def choose_engine(config: Config, name: str) -> Config:
    """Return the config as it holds for one model: `conventional` is answered by the engine of its architecture.

    The oracle and a simulated engine, which have no model, stand in for any.

    Raises:
        UserError: if the engine is one of conventional models and the model is none.
    """
    infer = config.infer
    if name != "conventional":
        if infer.engine in CONVENTIONAL_ENGINES:
            raise UserError(f"infer.engine={infer.engine} answers for the model `conventional`, not for `{name}`")
        return config
    if infer.engine in ("oracle", "simulated"):
        return config
    if config.few_shot.num_examples:
        raise UserError(
            "`few_shot.num_examples` shows worked examples to models that follow instructions, and `conventional` "
            "learns from training alone; set it to 0, or take `conventional` out of `infer.models`"
        )
    engine = "encoder" if config.conventional.architecture == "encoder" else "seq2seq"
    return config.model_copy(update={"infer": infer.model_copy(update={"engine": engine, "engine_kwargs": {}})})


def use_endpoint(
    config: Config, predictions_dir: Path | None, inputs: str, has_answered: bool = False
) -> AbstractContextManager["Endpoint | None"]:
    """Return the endpoint of a config for a while, or, with any other engine, none.

    Args:
        config: Of the run; Ray has to run.
        predictions_dir: What is answered stands there; None: elsewhere.
        inputs: Digest of all that determines the answers.
        has_answered: Whether it answered such requests before.
    """
    if config.infer.engine != "openai":
        return nullcontext()
    from eshop_ray.inference.engines.openai.endpoint import open_endpoint

    return open_endpoint(config, predictions_dir, inputs, has_answered)


def count_block_rows(config: Config) -> int:
    """Return how many rows are answered and kept together.

    What an endpoint has answered is paid for: there, no more rows than are under way.
    """
    if config.infer.engine == "openai":
        return config.openai.max_concurrent_requests
    return CALLS_PER_BLOCK * config.infer.batch_size


def start_engine(config: Config, model: Model) -> None:
    """Start Ray, check that the job fits, and deploy the model where it is asked through Ray Serve.

    Args:
        config: Of the run.
        model: Which is to answer.

    Raises:
        UserError: if the model does not run on this platform, or the cluster has too little room.
    """
    if model.folder:
        check_platform(config, model.folder)
    if config.infer.engine == "serve" and model.folder:
        from eshop_ray.inference.engines.serve_app import APP_CPUS, ensure_running

        start_ray(config.ray, num_cpus=APP_CPUS + 1, num_gpus=int(config.serve.use_gpu))
        ensure_running(config.serve, model.share(config.run_dir), model.digest)
        return
    start_ray(config.ray, num_cpus=config.infer.num_cpus, num_gpus=config.infer.num_gpus)


def find_answering_model(config: Config, name: str, for_chat: bool = True) -> Model:
    """Return a model of a run by its name; an endpoint's is what it is called, a simulated engine's what it is told.

    Args:
        config: Of the run.
        name: `base`, `merged`, `quantized` or `conventional`.
        for_chat: Whether a base model has to have a chat template.

    Raises:
        UserError: if the model has not been made, the base cannot be had, or the endpoint not be asked.
    """
    if config.infer.engine == "simulated":
        from eshop_ray.inference.engines.simulated.engine import digest_simulated

        return Model(None, digest_simulated(config.infer.engine_kwargs))
    if config.infer.engine == "openai":
        from eshop_ray.inference.engines.openai.endpoint import check_endpoint, digest_endpoint

        check_endpoint(config)
        return Model(None, digest_endpoint(config.openai))
    folder = find_model(config, name, for_chat, can_switch=config.infer.engine != "serve")
    return Model(folder, model_digest(folder))


def check_platform(config: Config, model_dir: Path) -> None:
    """Raise `UserError` if the model is quantized in a way that does not run where the config has it answer."""
    if config.infer.engine == "serve":
        check_model(model_dir, config.serve.use_gpu, config.serve.engine_kwargs.get("dtype"))
    elif config.infer.engine == "vllm":
        check_model(model_dir, config.infer.use_gpu, config.infer.engine_kwargs.get("dtype"))

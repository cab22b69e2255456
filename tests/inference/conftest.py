"""One vLLM for all tests that do not kill it."""

from contextlib import contextmanager

import pytest

from eshop_ray.config import InferSection
from eshop_ray.inference.engines import vllm

NAME = "vllm of the tests"


def build_lender(handle):
    """Return what stands in for `build_actor`; a worker cannot import the tests, hence a closure."""

    class LentEngine:
        async def start(self):
            await handle.ready.remote()

        async def ask(self, requests):
            return await handle.answer.remote(requests)

        async def stop(self):
            pass

    return lambda *_, **__: LentEngine()


@pytest.fixture(scope="session")
def start_vllm(ray_session, starts_vllm, tiny_model_dir):  # noqa: ARG001
    """Return a function that returns the actor of the session's vLLM with the tiny model, started if it is not up."""
    config = InferSection(cpu_kvcache_gib=1, engine_kwargs={"dtype": "float32", "max_num_seqs": 16})
    arguments = {"model": str(tiny_model_dir), "served_model_name": ["tiny"], **vllm.engine_kwargs(config)}
    options = {**vllm.actor_options(config), "num_cpus": 0}  # it stays, and takes no other test's room
    options |= {"name": NAME, "get_if_exists": True, "lifetime": "detached"}
    return lambda: ray_session.remote(vllm.VllmActor).options(**options).remote(arguments, serves_api=True)


@pytest.fixture(scope="session")
def lend_vllm(start_vllm):
    """Return a context in which `infer.engine=vllm` asks the session's vLLM, whatever `infer.engine_kwargs` say."""

    @contextmanager
    def lend():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vllm, "build_actor", build_lender(start_vllm()))
            yield

    return lend


@pytest.fixture(scope="module")
def warm_vllm(lend_vllm):
    """That context, for a module."""
    with lend_vllm():
        yield

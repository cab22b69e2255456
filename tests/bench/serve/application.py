"""Our application of Ray Serve before a model that answers at once, and the same road without guards beside it."""

import json
import os
from contextlib import contextmanager

from ray import serve

from eshop_ray.cluster import start_ray
from eshop_ray.config import RaySection
from eshop_ray.inference.openai_api import CHAT_URL
from eshop_ray.serving.application import QUIET_LOG
from eshop_ray.serving.calls import ApiCall
from eshop_ray.serving.keys import make_key, write_line
from tests.processes import find_processes, free_port
from tests.serving.double import APP, MODEL, deploy

BARE = "bare"
"""The application without guards, and its address."""
PROCESSES = ("ray::ProxyActor", "ray::ServeReplica:eshop:Gateway", f"ray::ServeReplica:eshop:{MODEL}")
LIMITS = {"tokens_per_day": 10**12, "requests_per_minute": 10**9}
"""That nobody reaches, and that are counted all the same."""


def make_bare_class():
    """Return the class of an ingress that hands a body to the model and its answer back, and does no more."""

    class Bare:
        def __init__(self, model):
            self._stream = model.options(stream=True)

        async def __call__(self, request):
            from starlette.responses import Response

            call = ApiCall(CHAT_URL, json.loads(await request.body()))
            piece = await anext(aiter(self._stream.answer_call.remote(call, "bare")))
            return Response(piece.body, piece.status, media_type="application/json")

    return Bare


@contextmanager
def start(folder, seconds=0.0, with_bare=False, **options):
    """Give the address of the application and the headers of a key; options are of the model's deployment."""
    import ray

    start_ray(RaySection(num_cpus=4), num_cpus=1)
    try:
        key, known = make_key("bench", **LIMITS)
        path = folder / "keys"
        path.touch(0o600)
        path.write_text(write_line(known))
        port = free_port()
        deploy(folder, port, seconds=seconds, keys=path, **{"num_replicas": 1, **options})
        if with_bare:
            model = serve.get_deployment_handle(MODEL, APP)
            bare = serve.deployment(make_bare_class(), name="Bare", logging_config=QUIET_LOG).bind(model)
            serve.run(bare, name=BARE, route_prefix=f"/{BARE}")
        yield f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}"}
    finally:
        serve.shutdown()
        ray.shutdown()


def measure_memory():
    """Return the resident memory of the proxy and of the replicas, bytes by name; the largest of each."""
    return {name: max(process.memory_info().rss for process in find_processes(os.getpid(), name)) for name in PROCESSES}

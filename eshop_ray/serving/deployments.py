"""What Ray Serve runs of the endpoint in front of the model: gateways, and the catalogue that they search."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from ray.exceptions import RayActorError, RayError
from ray.serve import get_replica_context
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from eshop_ray.config import ServeSection
from eshop_ray.data.few_shot.embeddings import encode_texts
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.data.search_index import Document, Hit, SearchIndex
from eshop_ray.serving.batches.endpoints import BatchEndpoints
from eshop_ray.serving.batches.handles import HandledBatches, HandledFiles
from eshop_ray.serving.budget_actor import RemoteBudgets
from eshop_ray.serving.calls import Call, ModelFacts, Piece
from eshop_ray.serving.catalogue import CatalogueEndpoints, Filters, IndexedCatalogue, no_search
from eshop_ray.serving.endpoints import Endpoints
from eshop_ray.serving.errors import SOON_SECONDS, RefusalError, busy_model
from eshop_ray.serving.facts import LatestFacts
from eshop_ray.serving.gateway import Gateway
from eshop_ray.serving.keys import KeyRing
from eshop_ray.serving.ray_metrics import RayRecorder
from eshop_ray.serving.readiness import Readiness
from eshop_ray.serving.spending import MeteredModel
from eshop_ray.serving.visits import open_access_log

logger = logging.getLogger(__name__)

FIRST_SECONDS = 2.0
"""That a new gateway waits for the model: where one takes over and the model is up, nobody is told that it starts."""


class DeployedModel:
    """The model's deployment, asked through its handle."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._answer = handle.options(stream=True).answer_call  # each look at a handle's method makes a handle

    async def describe(self) -> ModelFacts:
        """Say what it is; this waits until it is up."""
        facts: ModelFacts = await self._call("describe_model")
        return facts

    async def measure(self, call: Call) -> int | None:
        """Return the tokens of a call's prompts; None where they cannot be told."""
        num_tokens: int | None = await self._call("measure_call", call)
        return num_tokens

    async def ask(self, call: Call, request_id: str) -> AsyncIterator[Piece]:
        """Yield what it answers; when the iterator is closed, it stops to generate.

        A replica that dies before its first word is nothing that a client has to know: another is asked, once.
        """
        for is_last in (False, True):
            pieces = self._answer.remote(call, request_id)
            has_begun = False
            try:
                async for piece in pieces:
                    has_begun = True
                    yield piece
                return
            except (RayServeException, RayError) as error:
                if is_last or has_begun or not isinstance(error, RayActorError):
                    raise judge(error) from None
                logger.warning("request %s: its replica died, another is asked", request_id)
            finally:
                with suppress(Exception):  # of a replica that died, once more
                    pieces.cancel()

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return await getattr(self._handle, method).remote(*arguments)
        except (RayServeException, RayError) as error:
            raise judge(error) from None


def judge(error: Exception) -> RefusalError:
    """Return what an error of a handle says to a client."""
    logger.warning("the model cannot be asked: %s", type(error).__name__)
    if isinstance(error, BackPressureError):
        return RefusalError(503, "too many requests wait for the model", "overloaded", retry_after=SOON_SECONDS)
    return busy_model()


class HandledCatalogue:
    """The catalogue, asked through its handle."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def search(self, query: str, filters: Filters, limit: int) -> list[Hit]:
        """Return the products that a question means, the nearest first."""
        hits: list[Hit] = await self._call("search", query, filters, limit)
        return hits

    async def find(self, ids: Sequence[str]) -> list[Document]:
        """Return products by their ids, without those that are not there."""
        found: list[Document] = await self._call("find", ids)
        return found

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            found = await getattr(self._handle, method).remote(*arguments)
        except (RayServeException, RayError) as error:
            logger.warning("the catalogue cannot be asked: %s", type(error).__name__)
            found = None
        if found is None:
            raise no_search()
        return found


class CatalogueDeployment:
    """Holds the search index, and the embedding model that reads questions."""

    def __init__(self, index_uri: str) -> None:
        encode_texts([""])  # the first question is not to wait for the model to load
        self._catalogue = IndexedCatalogue(SearchIndex(index_uri, encode_texts))

    async def search(self, query: str, filters: Filters, limit: int) -> list[Hit] | None:
        """Return the products that a question means; None: it is in trouble, of which Ray Serve shall log no words."""
        with suppress(RefusalError):
            return await self._catalogue.search(query, filters, limit)
        return None

    async def find(self, ids: Sequence[str]) -> list[Document] | None:
        """Return products by their ids; None likewise."""
        with suppress(RefusalError):
            return await self._catalogue.find(ids)
        return None


def sleeps(options: dict[str, Any]) -> bool:
    """Return whether a deployment with such options has no replica while nobody asks it."""
    return (options.get("autoscaling_config") or {}).get("min_replicas") == 0


class GatewayDeployment:
    """One gateway. It is up long before the model is, and says so to whoever asks."""

    async def __init__(  # type: ignore[misc]  # Ray Serve's
        self,
        config: ServeSection,
        tasks: PromptSettings,
        model: DeploymentHandle,
        budgets: DeploymentHandle,
        catalogue: DeploymentHandle | None,
        batches: DeploymentHandle,
    ) -> None:
        open_access_log()
        deployed = DeployedModel(model)
        facts = LatestFacts(deployed)
        readiness = Readiness(deployed, facts, may_sleep=sleeps(config.deployment_config))
        self._metered = metered = MeteredModel(deployed, RemoteBudgets(budgets), facts)
        endpoints = Endpoints(config.model_id, tasks, metered, readiness, tuple(config.adapters))
        products = CatalogueEndpoints(HandledCatalogue(catalogue) if catalogue else None, metered)
        limits = (config.batches.max_file_bytes, config.max_body_bytes)
        files = BatchEndpoints(HandledFiles(batches), HandledBatches(batches), metered, *limits)
        self._gateway = Gateway(config, KeyRing.of(config), endpoints, readiness, products, RayRecorder(), files)
        self._starting = asyncio.create_task(readiness.wait())
        await asyncio.wait({self._starting}, timeout=FIRST_SECONDS)

    async def drain(self, seconds: float) -> tuple[str, bool]:
        """Take no new request; return this gateway's id, and whether the running ones were answered in that time."""
        is_done = await self._gateway.drain(seconds)
        await self._metered.finish()
        return get_replica_context().replica_id.unique_id, is_done

    async def __serve_build_asgi_app__(self) -> Gateway:
        """Return what Ray Serve hands requests to."""
        return self._gateway

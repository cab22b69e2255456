"""Whether a client is still there, and work that is done for as long as it is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from starlette.types import Receive

from eshop_ray.serving.bodies import ClientGoneError


@asynccontextmanager
async def watch_client(receive: Receive) -> AsyncIterator["asyncio.Future[None]"]:
    """Yield what is done once a client is gone."""
    gone = asyncio.ensure_future(_wait_until_gone(receive))
    try:
        yield gone
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)


async def run_before(gone: "asyncio.Future[None]", work: Awaitable[None]) -> None:
    """Do something for a client as long as it is there.

    Raises:
        ClientGoneError: if it leaves; the work is cancelled then, and with it what the model is generating.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    task.result()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""The model that is made up as a deployment of Ray Serve, which workers can import."""

import asyncio

from tests.serving.made_model import MadeModel


class MadeDeployment:
    """Answers as the model's deployment does, and counts on disk what it was asked."""

    def __init__(self, folder):
        self._model, self._folder = MadeModel(), folder

    async def describe_model(self):
        return await self._model.describe()

    async def measure_call(self, call):
        return await self._model.measure(call)

    async def answer_call(self, call, request_id):
        if hasattr(call, "body"):
            await asyncio.sleep(0.1)
            (self._folder / request_id).touch()
        async for piece in self._model.ask(call, request_id):
            yield piece

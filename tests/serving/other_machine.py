"""What test_other_machines.py runs on either machine: `serve HOST FOLDER`, or `ask URL [KEY]`."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import uvicorn

from tests.serving.made_model import MadeModel, build_gateway

PORT = 8000


async def serve(host, folder):
    """Serve a gateway before the made model until standard input ends; the folder's `keys.txt` has its key lines."""
    lines = folder / "keys.txt"
    keys = lines.read_text().splitlines() if lines.exists() else None
    gateway, readiness, _ = build_gateway(MadeModel(), folder, keys, host=host)
    await readiness.wait()
    server = uvicorn.Server(uvicorn.Config(gateway, host=host, port=PORT, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving


def ask(url, *key):
    """Print the status of a request, and the code of its error; `refused` where nobody listens."""
    headers = {"Authorization": f"Bearer {key[0]}"} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as response:
            print(response.status)
    except urllib.error.HTTPError as error:
        print(error.code, json.loads(error.read())["error"]["code"])
    except urllib.error.URLError as error:
        print("refused" if isinstance(error.reason, ConnectionRefusedError) else error.reason)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2], Path(sys.argv[3])))
    else:
        ask(*sys.argv[2:])

"""Chromium without a window, driven by its own protocol; and a gateway that it can reach."""

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager

import httpx
import uvicorn
from websockets.sync.client import connect

from tests.serving.made_model import build_gateway

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0
"""Seconds: a busy machine starts a browser slowly."""
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
)
KEYS = {"Enter": 13, "Tab": 9, "Escape": 27}


class Page:
    """A tab."""

    def __init__(self, socket, session):
        self._socket, self._session, self._numbers = socket, session, itertools.count(1)
        self.troubles = []
        """Errors that the page's console has: what the policy forbids stands there too."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, "sessionId": self._session}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("method") == "Runtime.exceptionThrown":
                self.troubles.append(json.dumps(message["params"])[:500])
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["source"] != "network":
                self.troubles.append(message["params"]["entry"]["text"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def run(self, script):
        """Return what a piece of JavaScript is."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script):
        """Return what a piece of JavaScript is once that is true."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page shows: {self.run('document.body.innerText')[:2000]}")

    def wait_text(self, selector, text):
        """Return once an element shows a text."""
        chosen = f"document.querySelector({json.dumps(selector)})"
        return self.wait(f"({chosen}?.innerText || '').includes({json.dumps(text)})")

    def open(self, url):
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.wait("document.readyState == 'complete' && location.protocol == 'http:'")

    def click(self, selector):
        self.wait(f"!!document.querySelector({json.dumps(selector)})")
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector, text, key="Enter"):
        """Write into a field as a person does, and press a key."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)
        self.press(key)

    def press(self, key, text=""):
        code = KEYS.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            typed = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            if text and kind == "keyDown":
                typed = {"text": text}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed)

    def resize(self, width, height, scheme="light"):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def set_offline(self, is_offline):
        self.call(
            "Network.emulateNetworkConditions",
            offline=is_offline,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    def photograph(self, path):
        image = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(image))


@contextmanager
def open_browser(folder):
    """Give a tab of a browser of its own."""
    process = subprocess.Popen(
        [BROWSER, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = _read_address(folder / "DevToolsActivePort")
        with connect(address, max_size=None, open_timeout=PATIENCE) as socket:
            yield _open_tab(socket)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _read_address(path):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        lines = path.read_text().split() if path.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.1)
    raise AssertionError("the browser does not start")


def _open_tab(socket):
    def ask(number, method, **params):
        socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(socket.recv(timeout=PATIENCE))
            if message.get("id") == number:
                return message["result"]

    target = ask(900_001, "Target.createTarget", url="about:blank")["targetId"]
    return Page(socket, ask(900_002, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"])


@contextmanager
def serve_gateway(model, folder, is_up=True, **options):
    """Give the address of a gateway that listens on this machine, and what makes its model come up."""
    gateway, readiness, _ = build_gateway(model, folder, **options)
    server = uvicorn.Server(uvicorn.Config(gateway, host="127.0.0.1", port=0, log_level="error"))
    ready = threading.Event()

    async def run():
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        if is_up:
            await readiness.wait()
        ready.set()
        await readiness.wait()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        assert httpx.get(f"{url}/health").status_code == 200
        yield url
    finally:
        model.trouble = None
        server.should_exit = True
        thread.join(PATIENCE)

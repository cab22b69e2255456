"""A small HTTP server that answers as OpenAI's does, or misbehaves as asked; it notes what it gets."""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANG_SECONDS = 5.0


@dataclass
class FakeEndpoint:
    """What it does of a chat is decided by `behave`: a number of requests of that question so far, and the body, in;
    `answer TEXT`, `hang`, `cut`, `malformed`, or (status, headers, body) out.
    """

    behave: object
    key: str | None = None
    usage: bool = True
    times: list = field(default_factory=list)
    bodies: list = field(default_factory=list)
    seen: Counter = field(default_factory=Counter)
    inside: int = 0
    most_inside: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    @property
    def questions(self):
        """What the last user's turn of each request says."""
        return [body["messages"][-1]["content"] for body in self.bodies]


def refuse(status, code=None, message="no", **headers):
    """Return a refusal in OpenAI's form."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, headers, json.dumps({"error": {"message": message, "code": code}})


def build_handler(endpoint):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def send(self, status, headers, text):
            content = text.encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def is_allowed(self):
            return endpoint.key is None or self.headers["Authorization"] == f"Bearer {endpoint.key}"

        def do_GET(self):
            if not self.is_allowed():
                self.send(*refuse(401, "invalid_api_key", f"wrong key: {self.headers['Authorization']}"))
                return
            self.send(200, {}, json.dumps({"data": []}))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][-1]["content"]
            with endpoint.lock:
                endpoint.times.append(time.monotonic())
                endpoint.bodies.append(body)
                number = endpoint.seen[question]
                endpoint.seen[question] += 1
                endpoint.inside += 1
                endpoint.most_inside = max(endpoint.most_inside, endpoint.inside)
            try:
                self.act(endpoint.behave(number, body), body)
            finally:
                with endpoint.lock:
                    endpoint.inside -= 1

        def act(self, action, body):
            if isinstance(action, tuple):
                self.send(*action)
            elif action == "hang":
                time.sleep(HANG_SECONDS)
                self.close_connection = True
            elif action == "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                self.close_connection = True
            elif action == "malformed":
                self.send(200, {}, '{"choices": [')
            else:
                self.send(200, {}, complete(action.removeprefix("answer "), body, endpoint.usage))

    return Handler


def complete(text, body, has_usage=True):
    """Return a completion; a token is a word."""
    usage = {
        "prompt_tokens": sum(len(message["content"].split()) for message in body["messages"]),
        "completion_tokens": len(text.split()),
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], **({"usage": usage} if has_usage else {})})


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Clients that leave are no matter."""


@contextmanager
def start_endpoint(behave=lambda _number, _body: "answer yes", **options):
    """Yield an endpoint that is up."""
    endpoint = FakeEndpoint(behave, **options)
    server = QuietServer(("127.0.0.1", 0), build_handler(endpoint))
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()

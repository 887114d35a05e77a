"""A local HTTP server that serves files, and misbehaves where a test needs it."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """A client's request, and how many bytes of the body were sent."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


@dataclass
class Answer:
    """How the server answers one request, instead of correctly."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stop_after: int | None = None  # bytes of the body
    first: Callable[[], object] = lambda: None  # before anything is sent
    then: Callable[[], object] = lambda: None  # before the connection is closed


class FileServer(ThreadingHTTPServer):
    """Serves `content` by path with entity tags and ranges, and 404 for anything else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content: dict[str, bytes] = {}
        self.answers: dict[str, list[Answer]] = {}  # by path: the answers to the next requests
        self.requests: list[Request] = []
        self.knows_ranges = self.knows_if_range = self.sends_tags = self.sends_length = True
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    @property
    def requested_paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def stall(self) -> None:
        """Send nothing more until the test ends."""
        self.closing.wait()

    def handle_error(self, *_: object) -> None:
        """Print nothing: in some tests the client gives up on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        request = Request(self.path, dict(self.headers))
        self.server.requests.append(request)
        planned = self.server.answers.get(self.path)
        answer = planned.pop(0) if planned else Answer()
        answer.first()
        body = self.server.content.get(self.path, b"")
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        status, start = 200 if self.path in self.server.content else 404, 0
        if status == 200 and self.server.knows_ranges and (match := re.fullmatch(r"bytes=(\d+)-", request.range or "")):
            unchanged = request.headers.get("If-Range", tag) == tag or not self.server.knows_if_range
            start = int(match[1]) if unchanged else 0
            status = 416 if start >= len(body) else 206 if unchanged else 200
        request.status = answer.status or status
        if request.status not in (200, 206):
            body = b""
        self.send_response(request.status)
        if request.status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.server.sends_tags:
            self.send_header("ETag", tag)
        if self.server.sends_length:
            self.send_header("Content-Length", str(len(body[start:])))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        part = body[start:][: answer.stop_after]
        request.sent = len(part)  # set before sending: a client that has it all may check at once
        self.wfile.write(part)
        self.wfile.flush()
        answer.then()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[FileServer]:
    with FileServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()

"""A local model hub that serves folders through the part of the HTTP interface that huggingface_hub uses."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
BRANCH = "main"


class Hub(BaseHTTPRequestHandler):
    models: dict[str, Path]
    gated: set[str]

    def log_message(self, *_) -> None:
        pass

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        name = next((n for n in self.models if n in path), None)
        if name is None:
            return self._send(401, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        before, _, rest = path.partition(name)
        kind, _, rest = rest.strip("/").partition("/")
        revision, _, file = rest.partition("/")
        if kind and revision not in (BRANCH, COMMIT):
            return self._send(404, b"{}", X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
        folder = self.models[name]
        files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        if before.startswith("api") and kind == "tree":
            tree = [{"type": "file", "path": n, "size": p.stat().st_size, "oid": oid(p)} for n, p in files.items()]
            return self._send(200, json.dumps(tree).encode(), Content_Type="application/json")
        if before.startswith("api"):
            info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}
            return self._send(200, json.dumps(info).encode(), Content_Type="application/json")
        if name in self.gated:
            return self._send(403, b"{}", X_Error_Code="GatedRepo", X_Error_Message="restricted")
        if file not in files:
            return self._send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        return self._send(200, files[file].read_bytes(), ETag=f'"{oid(files[file])}"', X_Repo_Commit=COMMIT)


def oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@contextmanager
def serve(models: dict[str, Path], gated: set[str] = frozenset()) -> Iterator[str]:
    """Serve folders as models of a hub and yield its address."""
    handler = type("Handler", (Hub,), {"models": models, "gated": gated})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()

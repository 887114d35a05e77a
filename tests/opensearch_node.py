"""A fake OpenSearch node on 127.0.0.1 that accepts exactly the requests that the package sends, and no others.

Paths, bodies and answers follow OpenSearch's REST documentation (create index, bulk, refresh, count, multi-search, the
neural_sparse query with query_tokens, rank_features, match). Weights of passages are truncated to 9 significant bits,
like Lucene's FeatureField. The tests with it cannot show how a real node differs.
"""

import gzip
import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np

CREATED = {"acknowledged": True, "shards_acknowledged": True}


def as_feature(weight: float) -> float:
    """Truncate a weight to a rank feature: sign, exponent and the highest 8 bits of the fraction."""
    bits = np.float32(weight).view(np.uint32) >> np.uint32(15) << np.uint32(15)
    return float(bits.view(np.float32))


class Node:
    """The state of a node: indexes with their bodies and documents, and the failures to come."""

    def __init__(self):
        self.indexes: dict[str, dict] = {}
        self.requests: list[tuple[str, str]] = []
        self.authorization: set[str | None] = set()
        self.busy = Counter()  # kind of request -> number of further refusals
        self.created = 0
        self.refuse_document = None  # an id of a document to refuse

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict]:
        self.requests.append((method, path))
        parts = path.strip("/").split("/")
        if path == "/":
            return 200, {"version": {"number": "3.2.0", "distribution": "opensearch"}, "tagline": "fake"}
        kind = parts[-1] if parts[-1].startswith("_") else method
        if self.busy[kind] > 0:
            self.busy[kind] -= 1
            return 503, {"error": {"type": "busy"}, "status": 503}
        match kind:
            case "_bulk":
                target = parts[0] if len(parts) > 1 else None
                return 200, self.bulk([json.loads(line) for line in body.split(b"\n") if line], target)
            case "_msearch":
                return 200, self.msearch([json.loads(line) for line in body.splitlines()])
        name = parts[0]
        if kind == "DELETE":
            self.indexes.pop(name, None)
            return 200, {"acknowledged": True}
        if kind == "PUT":
            self.created += 1
            self.indexes[name] = {"body": json.loads(body), "id": f"id{self.created}", "documents": {}, "visible": 0}
            return 200, CREATED | {"index": name}
        if name not in self.indexes:
            return 404, {"error": {"type": "index_not_found_exception"}, "status": 404}
        index = self.indexes[name]
        if kind == "_settings":
            return 200, {name: {"settings": {"index": {"uuid": index["id"]}}}}
        if kind == "_refresh":
            index["visible"] = len(index["documents"])
            return 200, {"_shards": {"failed": 0}}
        if kind == "_count":
            return 200, {"count": index["visible"]}
        raise AssertionError(f"unexpected request: {method} {path}")

    def bulk(self, lines: list[dict], index_of_path: str | None = None) -> dict:
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            target = dict(action["index"])
            if index_of_path:
                target["_index"] = index_of_path
            assert list(action) == ["index"] and set(target) == {"_index", "_id"}, action
            index = self.indexes[target["_index"]]
            fields = index["body"]["mappings"]["properties"]
            assert set(document) <= set(fields), document
            assert index_of_path or set(document) == set(fields), document
            field = "terms" if "terms" in fields else "text"
            if target["_id"] == self.refuse_document:
                error = {"type": "mapper_parsing_exception", "reason": "failed to parse field"}
                items.append({"index": {**target, "status": 400, "error": error}})
            elif self.busy["item"] > 0:
                self.busy["item"] -= 1
                items.append({"index": {**target, "status": 429, "error": {"type": "rejected_execution_exception"}}})
            else:
                if field == "terms":
                    features = document.get(field, {})
                    assert all(weight > 0 and "." not in term for term, weight in features.items())
                key = target["_id"] if index_of_path else int(target["_id"])
                index["documents"][key] = document.get(field, {})
                items.append({"index": {**target, "status": 201, "result": "created"}})
        return {"took": 1, "errors": any("error" in item["index"] for item in items), "items": items}

    def msearch(self, lines: list[dict]) -> dict:
        responses = []
        for header, body in zip(lines[::2], lines[1::2], strict=True):
            assert set(body) == {"query", "size", "_source", "track_total_hits"}, body
            assert body["_source"] is False and body["size"] <= 10_000
            if self.busy["query"] > 0:
                self.busy["query"] -= 1
                responses.append({"status": 429, "error": {"type": "rejected_execution_exception"}})
                continue
            scores = self.scores(self.indexes[header["index"]], body["query"])
            reverse = sorted(scores, reverse=True)  # ties in reverse order
            best = sorted(reverse, key=lambda row: -scores[row])[: body["size"]]
            hits = [{"_index": header["index"], "_id": str(row), "_score": float(scores[row])} for row in best]
            responses.append({"status": 200, "hits": {"max_score": None, "hits": hits}})
        return {"took": 1, "responses": responses}

    def scores(self, index: dict, query: dict) -> dict[int, np.float32]:
        if "match" in query:
            words = set(query["match"]["text"]["query"].lower().split())
            shared = {row: len(words & set(text.lower().split())) for row, text in index["documents"].items()}
            return {row: np.float32(count) for row, count in shared.items() if count}
        assert list(query) == ["neural_sparse"] and list(query["neural_sparse"]) == ["terms"], query
        tokens = query["neural_sparse"]["terms"]["query_tokens"]
        assert tokens, "query_tokens must not be empty"
        scores = {}
        for row, terms in index["documents"].items():
            if shared := tokens.keys() & terms.keys():
                scores[row] = np.float32(sum(tokens[term] * as_feature(terms[term]) for term in shared))
        return scores


@contextmanager
def running():
    """Yield a node and its address."""
    node, lock = Node(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with lock:
                node.authorization.add(self.headers.get("Authorization"))
                status, answer = node.answer(self.command, urlsplit(self.path).path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield node, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

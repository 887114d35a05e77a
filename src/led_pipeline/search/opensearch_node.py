"""Talk to a running OpenSearch node: connect, index in bulk and search in batches, all with retries.

Only the environment names the node: OPENSEARCH_URL, and if the node requires them OPENSEARCH_USER, OPENSEARCH_PASSWORD
and OPENSEARCH_CA (a file of certificates). Needs the package opensearch-py.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from led_pipeline.files.errors import InputError

TRIES = 6  # attempts at a request that a busy node refuses
FIRST_WAIT_S = 1.0  # doubles with every attempt
TIMEOUT_S = 120
BULK_DOCUMENTS = 1_000
BULK_BYTES = 20_000_000
BATCH = 64  # queries of one request
BUSY = (429, 502, 503, 504)

Wait = Callable[[float], None]


def library() -> Any:
    """Return the package opensearch-py.

    Raises:
        InputError: it is not installed.
    """
    try:
        import opensearchpy
    except ImportError as error:
        raise InputError(
            "search.backend: opensearch needs the package opensearch-py; pip install -c envs/constraints.txt"
            " opensearch-py, or choose anserini"
        ) from error
    return opensearchpy


def connect() -> Any:
    """Return a client of the node that the environment names, after checking that it answers.

    Raises:
        InputError: the package is missing, no node is named, or the node does not answer.
    """
    package = library()
    url = os.environ.get("OPENSEARCH_URL", "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            "OPENSEARCH_URL: expected the node's address, such as http://localhost:9200; see docs/guides/opensearch.md"
        )
    if parts.username or parts.password or parts.query:
        raise InputError(
            "OPENSEARCH_URL: it contains a user, a password or a query, which logs would show; put the first two into"
            " OPENSEARCH_USER and OPENSEARCH_PASSWORD, and remove the query"
        )
    user = os.environ.get("OPENSEARCH_USER")
    client = package.OpenSearch(
        [url],
        http_auth=(user, os.environ.get("OPENSEARCH_PASSWORD", "")) if user else None,
        ca_certs=os.environ.get("OPENSEARCH_CA"),
        timeout=TIMEOUT_S,
        max_retries=3,
        retry_on_timeout=True,
        http_compress=True,
    )
    try:
        client.info()
    except (package.exceptions.TransportError, package.exceptions.SerializationError) as error:
        status = getattr(error, "status_code", None)
        reason = f"status {status}" if isinstance(status, int) else getattr(error, "error", "the answer is not JSON")
        raise InputError(
            f"{url}: no OpenSearch node answers ({reason}); start it, or change OPENSEARCH_URL, OPENSEARCH_USER or"
            " OPENSEARCH_PASSWORD"
        ) from error
    return client


def with_retries(request: Callable[[], Any], wait: Wait = time.sleep) -> Any:
    """Return the answer to a request, repeating it while the node is busy or unreachable.

    Raises:
        InputError: the node refuses the request, or is still busy at the last attempt.
    """
    errors = library().exceptions
    for attempt in range(TRIES):
        try:
            return request()
        except errors.TransportError as error:
            temporary = isinstance(error, errors.ConnectionError) or error.status_code in BUSY
            if not temporary or attempt == TRIES - 1:
                raise InputError(f"OpenSearch refused a request: {error.status_code} {error.error}") from error
        wait(FIRST_WAIT_S * 2**attempt)


def create(client: Any, index: str, body: dict[str, Any]) -> str:
    """Create an index, deleting an existing one of this name, and return the id that the node gave it.

    Raises:
        InputError: the node refuses, or the new index is missing.
    """
    with_retries(lambda: client.indices.delete(index=index, params={"ignore_unavailable": "true"}))
    with_retries(lambda: client.indices.create(index=index, body=body))
    identity = index_id(client, index)
    if identity is None:
        raise InputError(f"{index}: the node has created this index but does not list it; rerun")
    return identity


def index_id(client: Any, index: str) -> str | None:
    """Return the id of an index, which differs from that of a new one with the same name; None if it does not exist."""
    try:
        settings = client.indices.get_settings(index=index)
    except library().exceptions.NotFoundError:
        return None
    return str(settings[index]["settings"]["index"]["uuid"])


def fill(client: Any, index: str, documents: Iterable[tuple[int, dict[str, Any]]]) -> None:
    """Index documents under their row numbers, in bulk; make them visible and check that none is missing.

    Raises:
        InputError: the node refuses a document, or some are missing at the end.
    """
    package = library()
    sent = 0
    actions = ({"_index": index, "_id": str(row), "_source": document} for row, document in documents)
    # By default the helper raises at once, without resending the documents that a busy node refused.
    retries = {"max_retries": TRIES, "initial_backoff": FIRST_WAIT_S, "max_backoff": 60, "raise_on_error": False}
    try:
        for accepted, answer in package.helpers.streaming_bulk(client, actions, BULK_DOCUMENTS, BULK_BYTES, **retries):
            if not accepted:
                item = next(iter(answer.values()))
                raise InputError(f"{index}: OpenSearch refused document {item.get('_id')}: {item.get('error')}")
            sent += 1
    except package.exceptions.TransportError as error:
        raise InputError(f"{index}: lost the node while sending documents ({error.error}); rerun") from error
    with_retries(lambda: client.indices.refresh(index=index))
    indexed = with_retries(lambda: client.count(index=index))["count"]
    if indexed != sent:
        raise InputError(f"{index}: the node has {indexed} of the {sent} documents that it accepted; build it again")


Hits = list[tuple[int, float]]  # row and score, in the node's order


def search(
    client: Any, index: str, queries: Iterable[dict[str, Any] | None], hits: int, threads: int
) -> Iterator[Hits]:
    """Yield the hits of each query in order, searching `threads` batches at the same time.

    Args:
        queries: query bodies; None for an empty query, which has no hits.

    Raises:
        InputError: the node refuses a query.
    """
    rest = iter(queries)
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[list[Hits]]] = deque()
        while True:
            while len(running) < 2 * threads and (batch := list(islice(rest, BATCH))):
                running.append(pool.submit(_answers, client, index, batch, hits))
            if not running:
                return
            yield from running.popleft().result()


def _is_partial(answer: dict[str, Any]) -> bool:
    """Return whether the node timed out or searched only some shards: not an error for it, but hits are missing."""
    return bool(answer.get("timed_out") or answer.get("_shards", {}).get("failed"))


def _answers(
    client: Any, index: str, batch: list[dict[str, Any] | None], hits: int, wait: Wait = time.sleep
) -> list[Hits]:
    """Return the hits of a batch; queries that a busy node refused or answered partially are repeated."""
    results: list[Hits] = [[] for _ in batch]
    open_queries = [i for i, query in enumerate(batch) if query]
    for attempt in range(TRIES):
        if not open_queries:
            return results
        lines: list[dict[str, Any]] = []
        for i in open_queries:
            lines += [{"index": index}, {"query": batch[i], "size": hits, "_source": False, "track_total_hits": False}]
        answers = with_retries(partial(client.msearch, body=lines))["responses"]
        refused = []
        for i, answer in zip(open_queries, answers, strict=True):
            if _is_partial(answer):
                refused.append(i)
            elif "error" not in answer:
                results[i] = [(int(hit["_id"]), hit["_score"]) for hit in answer["hits"]["hits"]]
            elif answer.get("status") in BUSY:
                refused.append(i)
            else:
                raise InputError(f"{index}: OpenSearch refused a query: {answer['error']}")
        open_queries = refused
        if open_queries:
            wait(FIRST_WAIT_S * 2**attempt)
    raise InputError(
        f"{index}: after {TRIES} attempts the node is too busy for {len(open_queries)} queries, or answers them"
        " partially; use fewer threads"
    )

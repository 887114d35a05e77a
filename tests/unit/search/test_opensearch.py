"""Searches through OpenSearch, on a fake node that accepts only documented requests, against the exact search."""

import json
import socket
import subprocess
import sys

import numpy as np
import opensearch_node
import pytest
from file_server import Answer, serving

from led_pipeline.data.tables import Ragged, read_ranking, write_arrow, write_strings
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError
from led_pipeline.search import opensearch
from led_pipeline.search import opensearch_node as client
from led_pipeline.search.exact import exact_sparse


@pytest.fixture
def node(monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT_S", 0.001)
    for name in ("OPENSEARCH_USER", "OPENSEARCH_PASSWORD", "OPENSEARCH_CA"):
        monkeypatch.delenv(name, raising=False)
    with opensearch_node.running() as (state, url):
        monkeypatch.setenv("OPENSEARCH_URL", url)
        yield state


def save(path, dense):
    rows = [np.flatnonzero(row) for row in dense]
    terms = Ragged.from_rows(rows, np.uint16)
    weights = np.concatenate([vector[entries] for vector, entries in zip(dense, rows, strict=True)])
    write_arrow(path, {"terms": terms, "weights": Ragged(weights.astype(np.float32), terms.offsets)})
    return path


@pytest.fixture
def collection(tmp_path):
    """Write 30 passages and 20 queries with vectors; weights fit into 9 bits, so that scores are exact."""
    draw = np.random.default_rng(0)
    passages = draw.integers(0, 12, (30, 40)) * (draw.random((30, 40)) < 0.2) / 4
    queries = draw.integers(0, 12, (20, 40)) * (draw.random((20, 40)) < 0.1) / 4
    passages[7], queries[3] = 0, 0
    texts = [f"word{i % 5} word{i % 7} w{i}" for i in range(30)]
    write_strings(
        tmp_path / "passages.parquet",
        [{"id": [f"p{i}" for i in range(30)], "title": ["a title"] * 30, "text": texts}],
        ["id", "title", "text"],
    )
    queries_text = ["word1", "", "w29 title", "nothing"]
    write_strings(tmp_path / "queries.parquet", [{"id": list("abcd"), "text": queries_text}], ["id", "text"])
    save(tmp_path / "p0.arrow", passages[:13])
    save(tmp_path / "p1.arrow", passages[13:])
    save(tmp_path / "all.arrow", passages)
    save(tmp_path / "q.arrow", queries)
    return tmp_path


def impacts(folder):
    opensearch.impact_index([folder / "p0.arrow", folder / "p1.arrow"], folder / "passages.parquet", folder / "index")
    return folder / "index"


def searched(folder, hits, **shard):
    parts = opensearch.impact_search(
        folder / "index", folder / "q.arrow", folder / "passages.parquet", hits, 2, **shard
    )
    return [(query, rows.tolist(), scores.tolist()) for part in parts for query, rows, scores in part]


def expected(folder, hits):
    vectors = [SparseVectors.read(folder / name) for name in ("q.arrow", "all.arrow")]
    return [(query, rows.tolist(), scores.tolist()) for query, rows, scores in exact_sparse(*vectors, hits)]


def test_a_lexicon_search_equals_the_exact_one(node, collection):
    impacts(collection)
    results = searched(collection, 30)
    assert results == expected(collection, 30)
    assert results[3][1] == [], "a query without terms has no hits, and no request is sent for it"
    (index,) = node.indexes.values()
    assert index["body"]["mappings"]["properties"] == {"terms": {"type": "rank_features"}}
    assert len(index["documents"]) == 30


def test_the_best_hits_are_cut_and_shards_of_queries_add_up(node, collection):
    impacts(collection)
    halves = [hit for shard in (0, 1) for hit in searched(collection, 5, shard=shard, shards=2)]
    assert [query for query, _, _ in halves] == list(range(20))
    assert [scores for _, _, scores in halves] == [scores for _, _, scores in expected(collection, 5)]


@pytest.mark.parametrize(("kind", "times"), [("item", 40), ("query", 3), ("_msearch", 2), ("PUT", 1), ("_refresh", 2)])
def test_requests_to_a_busy_node_are_repeated(node, collection, kind, times):
    node.busy[kind] = times
    impacts(collection)
    assert searched(collection, 30) == expected(collection, 30)
    assert node.busy[kind] == 0


def test_a_node_that_stays_busy_is_an_error(node, collection):
    impacts(collection)
    node.busy["query"] = 10_000
    with pytest.raises(InputError, match=r"after 6 attempts the node is too busy for \d+ queries"):
        searched(collection, 5)


@pytest.mark.parametrize("cut", [{"timed_out": True}, {"_shards": {"total": 2, "successful": 1, "failed": 1}}])
def test_a_query_with_a_partial_answer_is_repeated_and_the_answer_is_not_used(cut):
    """A node that times out or loses a shard answers with status 200, no error, and fewer hits."""
    whole = {"timed_out": False, "_shards": {"total": 2, "successful": 2, "failed": 0}}
    hits = {"hits": {"hits": [{"_id": "7", "_score": 2.0}, {"_id": "3", "_score": 1.0}]}}
    fewer = {"hits": {"hits": hits["hits"]["hits"][1:]}}

    class Node:
        answers = iter([whole | fewer | cut, whole | hits])

        def msearch(self, body):
            return {"responses": [next(self.answers)]}

    query = {"match": {"text": {"query": "a"}}}
    assert client._answers(Node(), "index", [query], 2, wait=lambda _: None) == [[(7, 2.0), (3, 1.0)]]
    Node.answers = iter([whole | fewer | cut] * 10)
    with pytest.raises(InputError, match="too busy"):
        client._answers(Node(), "index", [query], 2, wait=lambda _: None)


def test_bm25_searches_title_and_text_with_its_own_parameters(node, collection):
    index, passages, queries = (collection / n for n in ("bm25", "passages.parquet", "queries.parquet"))
    opensearch.bm25_index(passages, index, k1=0.82, b=0.68)
    (stored,) = node.indexes.values()
    assert stored["body"]["settings"]["index"]["similarity"] == {"default": {"type": "BM25", "k1": 0.82, "b": 0.68}}
    assert stored["documents"][29] == "a title word4 word1 w29"
    (part,) = opensearch.bm25_search(index, queries, passages, 0.82, 0.68, hits=4, threads=1)
    rows = {query: ranked.tolist() for query, ranked, _ in part}
    assert rows[2][0] == 29
    assert rows[1] == rows[3] == []
    with pytest.raises(InputError, match=r"its k1 is 0\.82, this search expects 0\.9; build it again"):
        next(opensearch.bm25_search(index, queries, passages, 0.9, 0.68, hits=4, threads=1))


def test_ties_are_in_the_order_of_the_rows(node, collection):
    index, passages, queries = (collection / n for n in ("bm25", "passages.parquet", "queries.parquet"))
    opensearch.bm25_index(passages, index, k1=0.9, b=0.4)
    (part,) = opensearch.bm25_search(index, queries, passages, 0.9, 0.4, hits=30, threads=1)
    first = next(ranked for query, ranked, _ in part if query == 0)
    assert len(first) > 5
    assert first.tolist() == sorted(first.tolist())


def test_an_index_that_the_node_has_lost_or_recreated_is_not_searched(node, collection):
    impacts(collection)
    (name,) = node.indexes
    node.indexes[name]["id"] = "another"
    with pytest.raises(InputError, match="does not have the index led-"):
        searched(collection, 5)
    del node.indexes[name]
    with pytest.raises(InputError, match="does not have the index led-"):
        searched(collection, 5)


def test_error_names_a_document_that_the_node_refuses(node, collection):
    node.refuse_document = "17"
    with pytest.raises(InputError, match=r"refused document 17: .*failed to parse field"):
        impacts(collection)
    assert not (collection / "index").exists()


def test_error_names_a_weight_that_is_nan(node, collection):
    broken = np.zeros((30, 40))
    broken[21, 3] = np.nan
    path = save(collection / "p.arrow", broken)
    with pytest.raises(InputError, match=r"p\.arrow: row 21: weight nan"):
        opensearch.impact_index([path], collection / "passages.parquet", collection / "index")


def test_more_hits_than_a_node_returns_are_refused(node, collection):
    impacts(collection)
    with pytest.raises(InputError, match="at most 10000 per query, got 10001"):
        searched(collection, 10_001)


def test_error_names_the_address_of_a_missing_node_without_the_password(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("OPENSEARCH_USER", "me")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
    monkeypatch.setenv("OPENSEARCH_URL", url)
    with pytest.raises(InputError, match=f"{url}: no OpenSearch node answers") as error:
        client.connect()
    assert "secret" not in str(error.value)
    monkeypatch.setenv("OPENSEARCH_URL", "http://me:secret@127.0.0.1:9200")
    with pytest.raises(InputError, match="contains a user, a password or a query") as error:
        client.connect()
    assert "secret" not in str(error.value)
    monkeypatch.delenv("OPENSEARCH_URL")
    with pytest.raises(InputError, match="OPENSEARCH_URL: expected the node's address"):
        client.connect()


def test_another_web_server_at_the_address_is_an_error_and_no_traceback(monkeypatch):
    with serving() as server:
        server.content["/"] = b"<html></html>"
        server.answers["/"] = [Answer(headers={"Content-Type": "text/html"})]
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OPENSEARCH_URL", url)
        with pytest.raises(InputError, match=rf"{url}: no OpenSearch node answers \(the answer is not JSON\)"):
            client.connect()


def test_user_and_password_are_sent_and_written_nowhere(node, collection, monkeypatch):
    monkeypatch.setenv("OPENSEARCH_USER", "me")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
    index = impacts(collection)
    assert node.authorization == {"Basic bWU6c2VjcmV0"}
    note = json.loads((index / "note.json").read_text())
    assert set(note) == {"kind", "index", "id", "passages"}


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensearchpy", None)
    with pytest.raises(InputError, match=r"pip install -c envs/constraints\.txt opensearch-py"):
        client.connect()


def test_the_command_line_equals_anserinis(node, collection):
    def call(*arguments):
        command = [sys.executable, "-m", "led_pipeline.search.opensearch", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    passages, index, out = (collection / n for n in ("passages.parquet", "index", "ranking.parquet"))
    common = ["--passages", passages, "--threads", 2, "--quantisation", 100]
    call("impact-index", "--vectors", collection / "p0.arrow", collection / "p1.arrow", *common, "--out", index)
    call(
        "impact-search", "--index", index, "--query-vectors", collection / "q.arrow", *common, "--hits", 7, "--out", out
    )
    assert len(read_ranking(out)) == 20

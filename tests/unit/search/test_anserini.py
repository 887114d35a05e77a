"""Lucene through Anserini: BM25 against its formula, impacts against the exact search."""

import math
import re
import sys
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from led_pipeline.data.tables import Ragged, read_ranking, read_rankings, write_arrow, write_rankings, write_strings
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.search import anserini, lucene
from led_pipeline.search.anserini import bm25_index, bm25_search, impact_index, impact_search
from led_pipeline.search.exact import exact_sparse
from led_pipeline.search.impacts import quantise


def write_texts(path: Path, texts: list[str], title: str | None = None) -> Path:
    columns = {"id": [f"id {i}" for i in range(len(texts))], "text": texts}
    if title is not None:
        columns["title"] = [title] * len(texts)
    write_strings(path, [columns], list(columns))
    return path


def hits(ranking) -> list[list[int]]:
    return [passages.tolist() for _, passages, _ in ranking]


def in_shards(search, folder: Path, shards: int):
    """Search shard by shard and return the ranking that the shards' files join to."""
    for shard in range(shards):
        write_rankings(folder / f"shard{shard}", search(shard=shard, shards=shards))
    write_rankings(folder / "joined", chain.from_iterable(read_rankings(folder / f"shard{i}") for i in range(shards)))
    return read_ranking(folder / "joined")


def test_chunks_hold_bounded_numbers_of_queries_and_characters(monkeypatch):
    monkeypatch.setattr(anserini, "CHUNK_QUERIES", 3)
    monkeypatch.setattr(anserini, "CHUNK_CHARACTERS", 10)
    topics = ["aa", "", "bb", "cc", "dd", "x" * 20, "ee", ""]
    lines = [["7\taa\n", "9\tbb\n", "10\tcc\n"], ["11\tdd\n"], [f"12\t{'x' * 20}\n"], ["13\tee\n"]]
    rows = [[7, 9, 10], [11], [12], [13]]
    assert list(anserini._chunks(topics, 7, 10)) == list(zip(rows, lines, strict=True))
    assert [len(rows) for rows, _ in anserini._chunks(["a"] * 5, 0, anserini.CHUNK_HITS // 2)] == [2, 2, 1]


def test_a_run_is_read_as_rows_and_an_empty_one_as_none(tmp_path):
    run = tmp_path / "run.trec"
    run.write_text("7 Q0 0000000012 1 3.500000 Anserini\n9 Q0 2147483647 1 -1.250000 Anserini\n")
    with run.open("rb") as file:
        assert [column.tolist() for column in anserini._read_run(file)] == [[7, 9], [12, 2_147_483_647], [3.5, -1.25]]
    run.write_text("")
    with run.open("rb") as file:
        assert [len(column) for column in anserini._read_run(file)] == [0, 0, 0]


def test_a_folder_that_is_not_an_index_is_an_error(tmp_path):
    passages = write_texts(tmp_path / "passages.parquet", ["a", "b"], title="")
    with pytest.raises(InputError, match=r"not an index of this pipeline, it has no note\.json"):
        bm25_search(tmp_path, passages, passages, 0.9, 0.4, 10, 1)
    write_json(tmp_path / anserini.NOTE, {"kind": "impact", "passages": 3, "quantisation": 100})
    with pytest.raises(InputError, match=r"its kind is impact, this search expects bm25"):
        bm25_search(tmp_path, passages, passages, 0.9, 0.4, 10, 1)
    with pytest.raises(InputError, match=r"its passages is 3, this search expects 2"):
        list(impact_search(tmp_path, passages, 100, passages, 10, 1))


def test_vectors_and_passages_must_be_equally_many(tmp_path):
    passages = write_texts(tmp_path / "passages.parquet", ["a", "b"], title="")
    row = Ragged.from_rows([np.array([1])], np.uint16)
    write_arrow(tmp_path / "v.arrow", {"terms": row, "weights": Ragged(np.float32([1]), row.offsets)})
    with pytest.raises(InputError, match=r"1 vectors in 1 files for the 2 rows"):
        impact_index([tmp_path / "v.arrow"], passages, 100, tmp_path / "index", 1)


def bm25(query: str, documents: list[list[str]], k1: float, b: float) -> list[float]:
    """BM25 as Lucene defines it: without the factor k1 + 1."""
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for term in query.split():
            matching = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - matching + 0.5) / (matching + 0.5))
            frequency = document.count(term)
            score += idf * frequency / (frequency + k1 * (1 - b + b * len(document) / average))
        scores.append(score)
    return scores


@pytest.mark.java
def test_bm25_ranks_as_its_formula_with_ties_by_row(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    words = ["alpha", "beta", "gamma", "delta", "kappa", "sigma"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(120)]
    # Control characters and line ends separate words like spaces, and break neither an index nor a run.
    odd = [" ", "\x00", "\x01", "\x1c", "\r\n", "\u2028", "\x85"]
    stored = [text.replace(" ", odd[row % len(odd)]) for row, text in enumerate(texts)]
    passages = write_texts(tmp_path / "passages.parquet", stored, title="omega")
    # Words of the index, then traps: blank, stop words, no letters, control characters, an unknown word.
    query_texts = ["alpha", "beta sigma", "gamma delta kappa", " \t ", "the of", "?!", "alpha\tbeta\r\n\x00", "unknown"]
    queries = write_texts(tmp_path / "queries.parquet", query_texts)
    bm25_index(passages, tmp_path / "index" / "bm25", threads=2)
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["bm25"]
    out = tmp_path / "ranking.parquet"
    command = ["bm25-search", "--index", tmp_path / "index" / "bm25", "--queries", queries, "--passages", passages]
    command += ["--k1", 1.2, "--b", 0.75, "--hits", 15, "--threads", 2, "--out", out]
    monkeypatch.setattr(sys, "argv", ["anserini", *map(str, command)])
    monkeypatch.setattr(anserini, "CHUNK_QUERIES", 2)
    anserini.main()
    ranking = read_ranking(out)
    documents = [["omega", *text.split()] for text in texts]
    for row, query in enumerate(["alpha", "beta sigma", "gamma delta kappa", "", "", "", "alpha beta", ""]):
        scores = np.round(bm25(query, documents, 1.2, 0.75), 6)
        expected = [i for i in np.argsort(-scores, kind="stable") if scores[i] > 0][:15]
        assert ranking.passages[row].tolist() == expected
        np.testing.assert_allclose(ranking.scores[row], scores[expected], atol=2e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\x00\u200b", "passage 'id 1' has no visible text; dataset.skip: [empty_text] leaves it out"),
        ("a" * 19, "passage 'id 1' has 21 characters with its title, and Anserini reads at most 20; split it"),
        ("\U0001f600" * 10, "passage 'id 1' has 22 characters with its title"),  # two UTF-16 units each
    ],
)
def test_error_names_an_unreadable_passage_before_an_index_is_built(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(anserini, "LONGEST_TEXT", 20)
    monkeypatch.setattr(lucene, "run_java", lambda *_: pytest.fail("Java was started"))
    passages = write_texts(tmp_path / "passages.parquet", ["b" * 18, text], title=" " if text[0] == "\x00" else "t")
    with pytest.raises(InputError, match=re.escape(message)):
        bm25_index(passages, tmp_path / "index", threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["passages.parquet"]


@pytest.mark.java
def test_a_passage_that_anserini_drops_is_an_error_and_no_index_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(anserini, "is_blank", lambda text: False)
    passages = write_texts(tmp_path / "passages.parquet", ["alpha", "\x01", "beta"], title="")
    with pytest.raises(InputError, match=r"2 of 3 passages were indexed"):
        bm25_index(passages, tmp_path / "index", threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["passages.parquet"]


@pytest.mark.java
def test_impact_scores_are_the_dot_products_of_the_impacts(tmp_path, monkeypatch):
    """Including queries with more terms than Lucene allows, empty vectors, shards, ties and a tie at the cut-off."""
    rng = np.random.default_rng(2)

    def vectors(name: str, *lengths: int) -> tuple[Path, SparseVectors]:
        terms = [np.sort(rng.choice(3_000, length, replace=False)) for length in lengths]
        weights = [rng.integers(0, 4, length) / 10 for length in lengths]
        sparse = SparseVectors(Ragged.from_rows(terms, np.uint16), Ragged.from_rows(weights, np.float32))
        write_arrow(tmp_path / name, {"terms": sparse.terms, "weights": sparse.weights})
        return tmp_path / name, sparse

    path, passages = vectors("p.arrow", *rng.integers(0, 40, 300), 0)
    shards = []
    for i, (start, stop) in enumerate([(0, 100), (100, 301)]):
        part = passages.rows(start, stop)
        shards.append(tmp_path / f"p{i}.arrow")
        write_arrow(shards[-1], {"terms": part.terms, "weights": part.weights})
    query_path, queries = vectors("q.arrow", 5, 0, 60, 2_500)
    texts = write_texts(tmp_path / "passages.parquet", ["text"] * 301, title="")
    monkeypatch.setattr(lucene, "FILE_ROWS", 64)
    impact_index(shards, texts, 10, tmp_path / "index", threads=2)
    search = partial(impact_search, tmp_path / "index", query_path, 10, texts, hits=25, threads=2)
    ranking = in_shards(search, tmp_path, 1)
    whole = [quantise(v, 10, 0, len(v), p) for v, p in ((queries, query_path), (passages, path))]
    expected = exact_sparse(*whole, 25)
    assert hits(ranking) == hits(expected)
    assert [len(rows) for rows in hits(ranking)] == [len(hits(expected)[0]), 0, 25, 25]
    np.testing.assert_array_equal(ranking.scores.values, expected.scores.values)
    sharded = in_shards(search, tmp_path, 2)
    assert sharded.queries.tolist() == [0, 1, 2, 3] and hits(sharded) == hits(expected)


@pytest.mark.java
def test_a_search_without_any_hit_is_an_error(tmp_path):
    passages = write_texts(tmp_path / "passages.parquet", ["alpha"], title="")
    bm25_index(passages, tmp_path / "index", threads=1)
    queries = write_texts(tmp_path / "queries.parquet", ["omega"])
    with pytest.raises(InputError, match=r"none of 1 queries has any hit"):
        list(bm25_search(tmp_path / "index", queries, passages, 0.9, 0.4, 10, 1))

"""Exact lexicon search against `exact_sparse`, and against Anserini, which is the oracle."""

import sys
import threading

import numpy as np
import pytest
from random_vectors import VOCABULARY, random_sparse

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import read_ranking, write_arrow, write_strings
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.search import exact_lexicon, term_kernels
from led_pipeline.search.exact import exact_sparse
from led_pipeline.search.exact_lexicon import impact_index, impact_search, search
from led_pipeline.search.impacts import quantise
from led_pipeline.search.posting_file import read_postings
from led_pipeline.search.posting_writer import write_postings


def sparse(rows: list[dict[int, float]], terms: type = np.uint16) -> SparseVectors:
    ids, weights = [sorted(row) for row in rows], [[row[term] for term in sorted(row)] for row in rows]
    return SparseVectors(Ragged.from_rows(ids, terms), Ragged.from_rows(weights, np.float32))


def save(path, vectors: SparseVectors):
    write_arrow(path, {"terms": vectors.terms, "weights": vectors.weights})
    return path


def postings_of(path, passages: SparseVectors, quantisation: int = 1, **arguments):
    write_postings(path, [(path, passages)], quantisation, **arguments)
    return read_postings(path)


def whole(vectors: SparseVectors, quantisation: int = 1) -> SparseVectors:
    return quantise(vectors, quantisation, 0, len(vectors), "vectors")


def as_lists(ranking) -> list[tuple[list[int], list[float]]]:
    return [(rows.tolist(), scores.tolist()) for *_, rows, scores in ranking]


def topical(rng: np.random.Generator, rows: int, terms: int, vocabulary: int = 400) -> SparseVectors:
    """Return vectors with some frequent terms, and small weights, so that many scores tie."""
    cumulative = np.cumsum(1 / np.arange(3, vocabulary + 3))
    drawn = [
        np.unique(np.searchsorted(cumulative, rng.random(rng.integers(0, terms)) * cumulative[-1])) for _ in range(rows)
    ]
    weights = [1 + rng.poisson(2 + 6 * (rng.random(len(row)) < 0.05), len(row)) for row in drawn]
    return SparseVectors(Ragged.from_rows(drawn, np.uint16), Ragged.from_rows(weights, np.float32))


@pytest.mark.parametrize("block_rows", [1, 7, 64, 3_000])
def test_passages_scores_and_ties_are_those_of_all_products(tmp_path, block_rows):
    rng = np.random.default_rng(block_rows)
    queries, passages = random_sparse(rng, 60, whole=True), random_sparse(rng, 500, whole=True)
    postings = postings_of(tmp_path / "p", passages, block_rows=block_rows)
    for k in (1, 5, 20, 499, 10_000):
        expected = as_lists(exact_sparse(queries, passages, k))
        assert as_lists(search(postings, whole(queries), k)) == expected
        assert len(set(expected[0][1])) < len(expected[0][1]) or k == 1  # there are ties


@pytest.mark.parametrize("k", [1, 10, 100, 700])
def test_skipped_postings_threads_and_chunks_change_nothing(tmp_path, k):
    rng = np.random.default_rng(k)
    queries, passages = topical(rng, 80, 25), topical(rng, 6_000, 60)
    expected = as_lists(exact_sparse(queries, passages, k))
    impacts = whole(queries)
    for block_rows, threads, at_once in ((512, 1, None), (2_000, 3, 7), (4_096, 2, 80), (6_000, 1, 1)):
        postings = postings_of(tmp_path / "p", passages, block_rows=block_rows, threads=threads)
        for prune in (True, False):
            assert as_lists(search(postings, impacts, k, threads, prune, at_once)) == expected


def test_blocks_whose_bounds_are_too_low_are_not_read(tmp_path):
    """Later blocks get the impacts of the first one: a search that reads them finds better passages there."""
    postings = postings_of(tmp_path / "p", sparse([{1: 9, 2: 1}] * 20 + [{2: 1}] * 5_000), block_rows=1_000)
    lying = postings.table.copy()
    lying[1:, 8] = lying[0, 8]
    lying.flags.writeable = False
    best = []
    for prune in (True, False):
        chunk = exact_lexicon.chunk_of(postings, whole(sparse([{1: 3, 2: 4}])), k=2)
        sizes = postings.term_bytes, postings.block_rows, postings.passages
        exact_lexicon.search_kernel()(postings.data, lying, *sizes, 0, len(lying), chunk, 2, prune)
        best.append(exact_lexicon.best_of(chunk, 0, 2)[0].tolist())
    assert best == [[0, 1], [1_000, 1_001]]


def test_queries_and_passages_without_terms_and_terms_that_no_passage_has(tmp_path):
    queries, passages = sparse([{}, {3: 2}, {9: 1}, {70_000: 5, 3: 1}], np.uint32), sparse([{}, {3: 0.5}, {4: 9}, {}])
    postings = postings_of(tmp_path / "p", passages, quantisation=2)
    results = as_lists(search(postings, whole(queries, 2), 100))
    assert results == [([], []), ([1], [4]), ([], []), ([1], [2])]
    empty = postings_of(tmp_path / "empty", sparse([{}, {}]))
    assert as_lists(search(empty, whole(queries), 3)) == [([], [])] * 4


def test_a_vocabulary_of_more_than_16_bits(tmp_path):
    rng = np.random.default_rng(7)
    queries, passages = (random_sparse(rng, n, whole=True) for n in (20, 300))
    far = [SparseVectors(Ragged(v.terms.values.astype(np.uint32) * 65_537, v.terms.offsets), v.weights)
           for v in (queries, passages)]  # fmt: skip
    postings = postings_of(tmp_path / "p", far[1], block_rows=100)
    assert postings.term_bytes == 4 and len(postings.terms) > VOCABULARY
    assert as_lists(search(postings, whole(far[0]), 30)) == as_lists(exact_sparse(queries, passages, 30))


@pytest.mark.parametrize("largest", [255, 256, 65_535, 65_536, 3_000_000])
def test_large_impacts_have_wider_types_or_several_postings(tmp_path, largest):
    rng = np.random.default_rng(largest)
    for often in (False, True):
        rows = [{0: int(rng.integers(1, largest + 1)) if often else 1, 1: 1 + row % 3} for row in range(200)]
        rows[150] = {0: largest, 1: 7}
        postings = postings_of(tmp_path / "p", sparse(rows), block_rows=64)
        queries = sparse([{0: 1}, {0: 3, 1: 2}, {1: 1}])
        expected = as_lists(exact_sparse(queries, sparse(rows), 200))
        for prune in (True, False):
            assert as_lists(search(postings, whole(queries), 200, prune=prune)) == expected
            top = as_lists(search(postings, whole(queries), 3, prune=prune))
            assert top == [(passages[:3], scores[:3]) for passages, scores in expected]
    assert int(postings.terms[0, 1]) == largest


def test_scores_that_may_exceed_32_bits_are_refused(tmp_path):
    postings = postings_of(tmp_path / "p", sparse([{0: 60_000, 1: 1}]))
    exact_lexicon.check_scores(postings, whole(sparse([{0: 35_791}])), tmp_path / "q")
    with pytest.raises(InputError, match=r"q: row 5: its scores can reach 2\.16e\+09.*lower the stage's quantisation"):
        exact_lexicon.check_scores(postings, whole(sparse([{1: 1}, {0: 36_000}])), tmp_path / "q", first=4)


@pytest.fixture
def index(tmp_path):
    rng = np.random.default_rng(3)
    passages = random_sparse(rng, 700)
    save(tmp_path / "a.arrow", passages.rows(0, 300))
    save(tmp_path / "b.arrow", passages.rows(300, 700))
    save(tmp_path / "q.arrow", random_sparse(rng, 40))
    rows = {"id": [str(row) for row in range(700)], "title": [""] * 700, "text": ["x"] * 700}
    write_strings(tmp_path / "passages.parquet", [rows], ["id", "title", "text"])
    files = [tmp_path / "a.arrow", tmp_path / "b.arrow"]
    impact_index(files, tmp_path / "passages.parquet", 100, tmp_path / "index", threads=2)
    return tmp_path


def searched(folder, hits=20, **arguments):
    files = folder / "index", folder / "q.arrow", 100, folder / "passages.parquet", hits
    return list(impact_search(*files, threads=2, **arguments))


def impacts(folder):
    files = [SparseVectors.read(folder / f"{name}.arrow") for name in "ab"]
    terms = Ragged.joined([file.terms for file in files], np.uint16)
    weights = Ragged.joined([file.weights for file in files], np.float32)
    return whole(SparseVectors.read(folder / "q.arrow"), 100), whole(SparseVectors(terms, weights), 100)


def test_the_commands_rank_every_query_and_shards_join(index, monkeypatch):
    expected = as_lists(exact_sparse(*impacts(index), 20))
    (ranking,) = searched(index)
    assert ranking.queries.tolist() == list(range(40)) and as_lists(ranking) == expected
    parts = [part for shard in range(3) for part in searched(index, shard=shard, shards=3)]
    assert [entry for part in parts for entry in as_lists(part)] == expected
    arguments = ["--index", "index", "--query-vectors", "q.arrow", "--passages", "passages.parquet"]
    numbers = ["--quantisation", "100", "--hits", "20", "--threads", "1", "--out", "r.parquet"]
    monkeypatch.chdir(index)
    monkeypatch.setattr(sys, "argv", ["exact_lexicon", "impact-search", *arguments, *numbers])
    exact_lexicon.main()
    assert as_lists(read_ranking("r.parquet")) == expected


def test_the_log_has_the_memory_and_the_progress(index, capsys):
    searched(index)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("posting file: ") and "memory for hits: at most " in lines[0]
    assert lines[-1].startswith("search: 40 of 40 queries, ")


def test_a_search_without_any_hit_is_an_error(index):
    save(index / "q.arrow", sparse([{60_000: 1}, {}]))
    with pytest.raises(InputError, match="none of 2 queries has any hit"):
        searched(index)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kind", "impact", "its kind is impact, this search expects postings; build it again"),
        ("quantisation", 50, "its quantisation is 50, this search expects 100; build it again"),
        ("passages", 3, "its passages is 3, this search expects 700; build it again"),
    ],
)
def test_an_index_of_other_data_or_of_lucene_is_refused(index, key, value, message):
    write_json(index / "index" / "note.json", read_json(index / "index" / "note.json") | {key: value})
    with pytest.raises(InputError, match=message):
        searched(index)


def test_a_posting_file_that_does_not_belong_to_its_note_is_refused(index):
    write_postings(index / "index" / "postings.bin", [(index, random_sparse(np.random.default_rng(1), 9))], 100)
    with pytest.raises(InputError, match="9 passages with the quantisation 100, expected 700 and 100"):
        searched(index)


def damage(path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place, 0 if place >= 0 else 2)
        file.write(content)


def test_damaged_files_are_refused_with_what_to_do(index):
    path = index / "index" / "postings.bin"
    intact = path.read_bytes()
    table = read_postings(path).table
    faults = {
        "it does not start with a header of LEDPOSTS": lambda: damage(path, 0, b"PARQUET!"),
        "version 2 of posting files, expected 1": lambda: damage(path, 8, b"\x02"),
        f"it has {len(intact) - 1:,} bytes and its header says": lambda: path.write_bytes(intact[:-1]),
        "start with a header": lambda: path.write_bytes(intact[:100]),
        "the sizes in its header do not match": lambda: damage(path, 16, b"\x00\x00\x00\x00"),
        "its tables have another checksum": lambda: damage(path, -1, bytes([intact[-1] ^ 1])),
        "block 0 has another checksum": lambda: damage(path, int(table[0, 7]), b"\xff\xff"),
    }
    for message, break_it in faults.items():
        path.write_bytes(intact)
        break_it()
        with pytest.raises(InputError, match=message) as error:
            searched(index)
        assert "remove its folder to have it made again" in str(error.value)
    path.unlink()
    with pytest.raises(InputError, match=r"postings\.bin"):
        searched(index)


def test_a_damaged_block_is_never_read_beyond_its_end(index):
    """`led search` does not compare the checksums of blocks; nothing that they contain may crash it."""
    path = index / "index" / "postings.bin"
    row = read_postings(path).table[0]
    damage(path, int(row[5]), b"\xff" * int(row[9 - 1] - row[5]))
    queries, _ = impacts(index)
    assert len(list(search(read_postings(path), queries, 10))) == len(queries)


def test_an_interrupted_search_ends_its_threads(tmp_path):
    rng = np.random.default_rng(5)
    postings = postings_of(tmp_path / "p", topical(rng, 3_000, 40), block_rows=100)
    results = search(postings, whole(topical(rng, 200, 20)), 10, threads=2, at_once=3)
    next(results)
    results.close()
    assert threading.active_count() < 5


def test_groups_of_passages_divide_a_block():
    assert term_kernels.MOST_ROWS % term_kernels.GROUP == 0


@pytest.mark.java
def test_anserini_ranks_the_same_passages_with_the_same_scores(index, tmp_path):
    from led_pipeline.search import anserini

    passages = index / "passages.parquet"
    anserini.impact_index([index / "a.arrow", index / "b.arrow"], passages, 100, tmp_path / "lucene", threads=1)
    for hits in (5, 1_000):
        lucene = anserini.impact_search(tmp_path / "lucene", index / "q.arrow", 100, passages, hits, threads=1)
        ours = searched(index, hits=hits)
        assert [e for part in ours for e in as_lists(part)] == [e for part in lucene for e in as_lists(part)]

"""Smaller vectors: codes and rankings against sentence-transformers, FAISS's quantisers and plain NumPy."""

import json
import subprocess
import sys

import faiss
import numpy as np
import pytest
from sentence_transformers.util import quantize_embeddings

from led_pipeline.data.tables import read_ranking, write_matrix
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.variants import VariantSettings, bytes_per_passage
from led_pipeline.search import faiss_index, variants
from led_pipeline.search.quantisers import Int8, bits, row_blocks, shortened

DIMENSIONS, PASSAGES, QUERIES, HITS = 40, 500, 23, 17


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write vectors of length 1 in three shards, with some equal passages; return the paths."""
    folder, random = tmp_path_factory.mktemp("variants"), np.random.default_rng(0)
    vectors = random.normal(size=(PASSAGES + QUERIES, DIMENSIONS)) * np.linspace(2, 0.2, DIMENSIONS)
    vectors[100:110] = vectors[90:100]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    vectors[:, 7] = 0.125  # a dimension without a range
    shards = [folder / f"passages.{i}.npy" for i in range(3)]
    for path, part in zip(shards, np.split(vectors[:PASSAGES], [200, 201]), strict=True):
        write_matrix(path, part)
    write_matrix(folder / "dev.npy", vectors[PASSAGES:])
    return shards, folder / "dev.npy"


def loaded(files):
    return np.concatenate([np.load(path) for path in files[0]]), np.load(files[1])


def ranked(files, hits=HITS, **settings):
    return variants.search(*files, VariantSettings(of="led", **settings), hits, threads=1)


def assert_same(ranking, scores, hits=HITS, tolerance=1e-4):
    """Check a ranking against the scores of all passages; ties are broken by row."""
    for query, rows, values in ranking:
        order = np.lexsort((np.arange(scores.shape[1]), -scores[query]))[:hits]
        np.testing.assert_allclose(values, scores[query][order], atol=tolerance)
        np.testing.assert_allclose(scores[query][rows], scores[query][order], atol=tolerance)
        assert len(set(rows.tolist())) == hits


def cut(vectors, size):
    part = vectors[:, :size].astype(np.float32)
    return (part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float16)


def test_shortened_vectors_are_ranked_by_the_cosine_of_their_first_dimensions(files):
    passages, queries = loaded(files)
    ranking = ranked(files, dimensions=12, normalize=True)
    left, right = (cut(vectors, 12).astype(np.float32) for vectors in (queries, passages))
    assert_same(ranking, left @ right.T)
    assert_same(
        ranked(files, dimensions=12), queries[:, :12].astype(np.float32) @ passages[:, :12].T.astype(np.float32)
    )
    np.testing.assert_allclose(np.linalg.norm(right, axis=1), 1, atol=1e-3)
    assert not np.isnan(shortened(np.zeros((1, 5), np.float16), 3, True)).any()


def test_int8_codes_are_those_of_sentence_transformers_and_of_faiss(files):
    passages, _ = loaded(files)
    floats = passages.astype(np.float32)
    code = Int8.of(row_blocks([passages[:123], passages[123:]], 50))
    codes = code.codes(passages)
    assert (codes == quantize_embeddings(floats, "uint8")).all()
    assert (codes.astype(int) - 128 == quantize_embeddings(floats, "int8")).all()
    index = faiss.IndexScalarQuantizer(DIMENSIONS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(floats)
    index.add(floats)
    their_codes = faiss.vector_to_array(index.codes).reshape(codes.shape)
    varied = np.arange(DIMENSIONS) != 7  # FAISS has no code for a range of 0
    assert (codes == their_codes)[:, varied].mean() > 0.999  # it rounds differently at the border of two steps
    reconstructed = index.reconstruct_n(0, PASSAGES)
    np.testing.assert_allclose(code.decoded(their_codes)[:, varied], reconstructed[:, varied], atol=1e-6)
    error = np.abs(code.decoded(codes) - floats)[:, varied]
    assert (error <= code.step_D[varied] / 2 * 1.001).all()


@pytest.mark.parametrize("dimensions", [None, 16])
def test_int8_is_searched_by_the_middles_of_the_steps(files, dimensions):
    passages, queries = loaded(files)
    if dimensions:
        passages, queries = cut(passages, dimensions), cut(queries, dimensions)
    floats = passages.astype(np.float32)
    low, step = floats.min(axis=0), (floats.max(axis=0) - floats.min(axis=0)) / 255
    step[step == 0] = 1
    middles = low + (quantize_embeddings(floats, "uint8") + 0.5) * step
    ranking = ranked(files, precision="int8", dimensions=dimensions, normalize=True)
    assert_same(ranking, queries.astype(np.float32) @ middles.T)


@pytest.mark.parametrize("dimensions", [None, 12])
def test_binary_counts_equal_bits_and_first_rows_win_ties(files, dimensions, monkeypatch):
    monkeypatch.setattr(variants, "BLOCK", 64)
    passages, queries = loaded(files)
    if dimensions:
        passages, queries = cut(passages, dimensions), cut(queries, dimensions)
    assert (bits(passages) == quantize_embeddings(passages.astype(np.float32), "ubinary")).all()
    signs = [np.where(vectors > 0, 1, -1) for vectors in (queries, passages)]
    scores = signs[0] @ signs[1].T
    for query, rows, values in ranked(files, precision="binary", dimensions=dimensions, normalize=True):
        order = np.lexsort((np.arange(PASSAGES), -scores[query]))[:HITS]
        assert rows.tolist() == order.tolist()
        assert values.tolist() == scores[query][order].tolist()


@pytest.mark.parametrize("precision", ["binary", "int8"])
def test_rescoring_sorts_the_first_passages_by_their_float_vectors(files, precision, monkeypatch):
    monkeypatch.setattr(variants, "PAIRS", 100)
    passages, queries = loaded(files)
    exact = queries.astype(np.float32) @ passages.T.astype(np.float32)
    first = ranked(files, hits=3 * HITS, precision=precision)
    again = ranked(files, precision=precision, rescore=3)
    for (query, rows, values), (_, found_first, _) in zip(again, first, strict=True):
        pool = found_first[np.lexsort((found_first, -exact[query][found_first]))][:HITS]
        np.testing.assert_allclose(values, exact[query][pool], atol=1e-4)
        assert set(rows.tolist()) == set(pool.tolist())
    whole = faiss_index.search(*files, HITS, 1)
    everything = ranked(files, precision=precision, rescore=1_000)
    assert everything.passages.values.tolist() == whole.passages.values.tolist(), "all passages rescored: exact search"


def test_fewer_passages_than_hits_are_all_ranked(files):
    assert {len(rows) for _, rows, _ in ranked(files, hits=9_999, precision="binary", rescore=2)} == {PASSAGES}


def test_the_command_ranks_a_shard_of_the_queries(files, tmp_path):
    settings = json.dumps({"of": "led", "precision": "int8", "dimensions": 16, "normalize": True, "rescore": None})
    command = [sys.executable, "-m", "led_pipeline.search.variants", "--passage-vectors", *map(str, files[0])]
    command += ["--query-vectors", str(files[1]), "--settings", settings, "--hits", str(HITS), "--threads", "1"]
    command += ["--shard", "1", "--shards", "2", "--out", str(tmp_path / "r")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    part, whole = read_ranking(tmp_path / "r"), ranked(files, precision="int8", dimensions=16, normalize=True)
    assert part.queries.tolist() == list(range(QUERIES // 2, QUERIES))
    assert part.passages[0].tolist() == whole.passages[QUERIES // 2].tolist()


def test_more_dimensions_than_the_vectors_have_are_refused(files):
    with pytest.raises(InputError, match=r"dimensions: 40 is not less than the 40 dimensions of .*dev\.npy"):
        ranked(files, dimensions=40)


def test_bytes_of_a_passage():
    assert [bytes_per_passage(768, kind) for kind in ("float16", "int8", "binary")] == [1536, 768, 96]
    assert bytes_per_passage(12, "binary") == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"dimensions": 12},
        {"precision": "int8"},
        {"precision": "binary", "dimensions": 12},
        {"precision": "binary", "rescore": 9},
        {"precision": "int8", "dimensions": 12, "rescore": 2},
    ],
)
def test_the_score_of_one_passage_is_that_of_the_ranking(files, settings):
    passages, queries = loaded(files)
    settings = VariantSettings(of="led", normalize=True, **settings)
    vectors = variants.Smaller.of([passages[:77], passages[77:]], settings)
    for query, rows, values in variants.search(*files, settings, HITS, threads=1):
        short = shortened(queries[query : query + 1], settings.dimensions, True)
        scores = [vectors.score(short, int(row)) for row in rows]
        np.testing.assert_allclose(scores, values, atol=1e-5)
    with pytest.raises(IndexError, match="row 500 is beyond"):
        vectors.score(short, PASSAGES)

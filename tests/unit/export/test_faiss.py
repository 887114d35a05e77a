"""FAISS exports, opened as their README says, against a ranking by numpy."""

import json
import re
from pathlib import Path

import faiss
import numpy as np
import pytest
from small_results import PASSAGES, QUERIES, ids, run_readme, save_results

from led_pipeline.export import faiss_folder
from led_pipeline.export.folder import export
from led_pipeline.export.ivfpq import code_bytes, lists, probes
from led_pipeline.export.options import Options
from led_pipeline.export.source import open_source
from led_pipeline.files.errors import InputError


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return save_results(tmp_path_factory.mktemp("dense"), {"den": {"family": "dense", "normalize": True}})


@pytest.fixture(scope="module")
def numeric(tmp_path_factory) -> Path:
    return save_results(tmp_path_factory.mktemp("numeric"), {"den": {"family": "dense"}}, numeric=True)


def vectors(results: Path) -> tuple[np.ndarray, np.ndarray]:
    folder = results / "vectors" / "den"
    passages = np.concatenate([np.load(folder / f"passages.{shard}.npy") for shard in (0, 1)])
    return np.load(folder / "dev.npy").astype(np.float32), passages.astype(np.float32)


def test_a_flat_index_ranks_like_the_vectors_with_the_ids_of_the_passages(results, tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_folder, "BLOCK", 37)
    note = export(open_source(results, "den"), ["flat"], tmp_path / "out", Options())
    printed = run_readme(tmp_path / "out", "flat")[0].splitlines()
    queries, passages = vectors(results)
    scores, pids = queries @ passages.T, ids("p", PASSAGES)
    assert len(printed) == 10, "the first 10 queries"
    for query, line in enumerate(printed):
        ranked = eval(line)
        order = np.argsort(-scores[query], kind="stable")[:10]
        np.testing.assert_allclose([score for _, score in ranked], scores[query][order], atol=1e-5)
        by_id = dict(zip(pids, scores[query], strict=True))
        np.testing.assert_allclose([by_id[pid] for pid, _ in ranked], scores[query][order], atol=1e-5)
    assert note["formats"]["flat"]["recall_of_exact_top_10"] == 1.0
    first = np.argsort(-scores, axis=1, kind="stable")
    ranks = [int(np.flatnonzero(first[q] == q)[0]) + 1 for q in range(QUERIES)]
    expected = np.mean([1 / rank if rank <= 10 else 0 for rank in ranks])
    assert note["formats"]["flat"]["MRR@10"] == pytest.approx(expected, abs=1e-4), "query i is judged for passage i"


def test_the_folder_has_what_pyserini_reads(results, tmp_path):
    """FaissSearcher reads `index` and the lines of `docid` without white space at their ends, and asks for equality."""
    export(open_source(results, "den"), ["hnsw"], tmp_path / "out", Options())
    index = faiss.read_index(str(tmp_path / "out" / "hnsw" / "index"))
    with (tmp_path / "out" / "hnsw" / "docid").open(encoding="utf-8") as file:
        docids = [line.rstrip() for line in file.readlines()]
    assert docids == ids("p", PASSAGES) and index.ntotal == len(docids)
    _, rows = index.search(vectors(results)[0], 5)
    assert rows.dtype == np.int64 and rows.min() >= 0 and rows.max() < len(docids)
    assert index.hnsw.efSearch == 200, "the file keeps the candidates of a search"


def test_losses_are_those_of_the_written_index(results, tmp_path):
    options = Options(ivf_lists=6, ivf_probes=2, pq_bytes=4)
    note = export(open_source(results, "den"), ["ivfpq", "flat"], tmp_path / "out", options)["formats"]
    index = faiss.read_index(str(tmp_path / "out" / "ivfpq" / "index"))
    assert (index.nlist, index.nprobe, index.pq.M) == (6, 2, 4)
    queries, passages = vectors(results)
    truth = np.argsort(-(queries @ passages.T), axis=1, kind="stable")
    _, rows = index.search(queries, 100)
    for k in (10, 100):
        share = np.mean([len(set(truth[q][:k]) & set(rows[q][:k])) / k for q in range(QUERIES)])
        assert note["ivfpq"][f"recall_of_exact_top_{k}"] == pytest.approx(share, abs=1e-4) and share < 1
    assert note["ivfpq"]["index_bytes"] == (tmp_path / "out" / "ivfpq" / "index").stat().st_size
    assert note["flat"]["MRR@10"] == note["flat"]["MRR@10 exact"] == note["ivfpq"]["MRR@10 exact"]


def test_the_same_seed_gives_the_same_ivfpq_index(results, tmp_path):
    for name in ("a", "b"):
        export(open_source(results, "den"), ["ivfpq"], tmp_path / name, Options(seed=3))
    one, two = ((tmp_path / name / "ivfpq" / "index").read_bytes() for name in ("a", "b"))
    assert one == two


def test_integer_ids_are_inside_the_index(numeric, tmp_path):
    for name in ("flat", "hnsw", "ivfpq"):
        export(open_source(numeric, "den"), [name], tmp_path / name, Options(numeric_ids=True))
        assert not (tmp_path / name / name / "docid").exists()
        assert "[[" in run_readme(tmp_path / name, name)[0]
    queries, passages = vectors(numeric)
    index = faiss.read_index(str(tmp_path / "flat" / "flat" / "index"))
    _, found_ids = index.search(queries, 5)
    best = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :5]
    assert (found_ids == 10 * best - 3).all()
    np.testing.assert_allclose(index.reconstruct(-3), passages[0], atol=1e-6)


def test_ids_that_are_no_integers_are_named(results, tmp_path):
    with pytest.raises(InputError, match="passage 1 has the id 'naïve', expected an integer without leading zeros"):
        export(open_source(results, "den"), ["flat"], tmp_path / "out", Options(numeric_ids=True))
    assert list(tmp_path.iterdir()) == []


def test_sizes_follow_the_number_of_passages():
    assert [lists(n) for n in (300, 12_000, 1_000_000, 8_841_823)] == [7, 307, 4_096, 16_384]
    assert [probes(n) for n in (7, 307, 16_384)] == [7, 19, 1_024]
    assert [code_bytes(d) for d in (768, 128, 16, 100, 7, 2)] == [192, 32, 4, 25, 1, 2]


def test_a_size_that_does_not_fit_is_named(results, tmp_path):
    with pytest.raises(InputError, match=r"--pq-bytes: 5 does not divide the 16 dimensions of the vectors; write 4"):
        export(open_source(results, "den"), ["ivfpq"], tmp_path / "out", Options(pq_bytes=5))
    with pytest.raises(InputError, match=r"--ivf-lists: 999 lists for 300 passages; write at most 7"):
        export(open_source(results, "den"), ["ivfpq"], tmp_path / "out", Options(ivf_lists=999))


def test_the_note_says_what_was_exported(results, tmp_path):
    export(open_source(results, "den"), [], tmp_path / "out", Options())
    note = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (note["stage"], note["kind"], note["passages"], list(note["formats"])) == ("den", "dense", 300, ["flat"])
    assert re.fullmatch(r"[0-9a-f]{16}", note["model"]) and "faiss-cpu" in note["versions"]

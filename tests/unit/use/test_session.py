"""Sessions against the searches of whole splits, and against products of the stored vectors by hand."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small_run
import tiny
import torch
from small_run import PASSAGES, QUANTISATION, QUERIES

from led_pipeline.data import tables
from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tokens import TokenStore
from led_pipeline.data.vectors import SparseVectors, read_vectors
from led_pipeline.files.errors import InputError
from led_pipeline.inference import batches
from led_pipeline.inference.score import first, reordered
from led_pipeline.models import saved_model
from led_pipeline.search.faiss_index import search as faiss_search
from led_pipeline.use import passages as texts
from led_pipeline.use.session import LONGEST_QUERY, Session


def files(results, name: str, suffix: str) -> tuple[list[Path], Path]:
    folder = results / "vectors" / name
    return [folder / f"passages.{shard}.{suffix}" for shard in range(small_run.SHARDS)], folder / f"dev.{suffix}"


def dense(vectors: SparseVectors) -> np.ndarray:
    return vectors.matrix(64).toarray()


def products(results, name: str, quantisation: float) -> np.ndarray:
    """Return the scores of all passages for all queries of the split, by impacts that are rounded here."""
    paths, queries = files(results, name, "arrow")
    passages = np.concatenate([dense(read_vectors(path)) for path in paths])
    return np.rint(dense(read_vectors(queries)) * quantisation) @ np.rint(passages * quantisation).T


@pytest.mark.parametrize("name", ["den", "untied"])
def test_dense_answers_are_those_of_the_search_of_the_split(results, session, name):
    ranking = faiss_search(*files(results, name, "npy"), 15, 1)
    for (row, expected, scores), query in zip(ranking, QUERIES, strict=True):
        answer = session.search(query, name, 15)
        assert [hit.row for hit in answer.hits] == expected.tolist(), row
        assert [hit.id for hit in answer.hits] == [f"p{passage}" for passage in expected]
        np.testing.assert_allclose([hit.score for hit in answer.hits], scores, rtol=2e-3)
        assert session.score(name, query, expected[3]) == pytest.approx(answer.hits[3].score, rel=1e-5)
        assert not session.matches(name, query, expected[3])


@pytest.mark.parametrize(("name", "quantisation"), [("lex", QUANTISATION), ("bag", 100)])
def test_lexicon_answers_are_sums_of_impacts_with_ties_by_row(results, session, name, quantisation):
    for query, scores in zip(QUERIES, products(results, name, quantisation), strict=True):
        order = [row for row in np.argsort(-scores, kind="stable") if scores[row] > 0][:15]
        hits = session.search(query, name, 15).hits
        assert [(hit.row, hit.score) for hit in hits] == [(row, scores[row]) for row in order]
        assert [session.score(name, query, row) for row in range(PASSAGES)] == scores.tolist()


def test_matches_are_the_shared_terms_by_their_share_of_the_score(session):
    query = QUERIES[0]
    for hit in session.search(query, "bag", 5).hits:
        matches = session.matches("bag", query, hit.row)
        shares = [match.query_weight * match.passage_weight for match in matches]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == hit.score
        assert {match.term.removeprefix("##") for match in matches} <= set(query.split())


def test_a_ranker_reorders_the_first_results_of_its_system(results, session):
    model, settings = saved_model.load(results / "models" / "judge")
    tokens = sorted((results / "tokens").iterdir())[0]
    stores = [TokenStore([tokens / "dev.arrow"]), TokenStore([tokens / f"passages.{i}.arrow" for i in (0, 1)])]
    stores[0] = with_prefix(stores[0], "query", str(results / "models" / "judge"), settings)
    ranking = first(faiss_search(*files(results, "den", "npy"), 30, 1), 7)
    pairs = np.repeat(ranking.queries, 7), ranking.passages.values
    scores = batches.score(model.eval(), *stores, pairs, settings, torch.device("cpu"))
    for (_, expected, values), query in zip(reordered(ranking, scores), QUERIES, strict=True):
        hits = session.search(query, "judge", 30).hits
        assert [hit.row for hit in hits] == expected.tolist()
        np.testing.assert_allclose([hit.score for hit in hits], values, rtol=1e-4, atol=1e-6)
        assert hits[:3] == session.search(query, "judge", 3).hits
        assert session.score("judge", query, hits[2].row) == pytest.approx(hits[2].score, rel=1e-4)


def test_several_threads_get_the_answers_of_one(session):
    jobs = [(query, name) for query in QUERIES for name in ("den", "lex", "judge")] * 2
    expected = [session.search(*job).hits for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert [answer.hits for answer in pool.map(lambda job: session.search(*job), jobs)] == expected


def test_a_run_has_the_passages_of_each_query_as_the_pipeline_writes_them(results, session, tmp_path):
    qids = [f"q{row}" for row in range(len(QUERIES))]
    run = list(session.run("den", qids, QUERIES))
    assert [(qid, len(pids)) for qid, pids, _ in run] == [(qid, 20) for qid in qids]
    excluded = small_run.config()
    excluded["dataset"]["exclude_query_id"] = True
    (tmp_path / "recipe.json").write_text(json.dumps(excluded))
    best = run[0][1][0]
    with Session.open(results, config=tmp_path / "recipe.json") as other:
        ((_, pids, scores),) = other.run("den", [best], QUERIES[:1], depth=5)
    assert pids == run[0][1][1:6] and scores == run[0][2][1:6]


@pytest.mark.parametrize("query", ["", " \t\n", "\u200b\x00"])
def test_a_blank_query_has_no_hits(session, query):
    assert session.search(query, "den").hits == []
    assert session.search(query, "lex").hits == []
    assert session.score("den", query, 0) is None
    assert session.matches("lex", query, 0) == []


@pytest.mark.parametrize(
    ("query", "system", "depth", "message"),
    [
        ("a", "dne", 10, r"no system 'dne' \(did you mean den\?\); there are den, untied, lex, bag, judge"),
        (
            "a",
            "bm25",
            10,
            r"bm25: its index .*index/bm25 is missing, make it with `snakemake .* results/small/index/bm25`",
        ),
        ("a" * (LONGEST_QUERY + 1), "den", 10, "query: 65,537 characters, expected at most 65,536; shorten it"),
        (b"a \xff".decode(errors="surrogateescape"), "den", 10, "query: its bytes are not UTF-8"),
        ("a", "den", 0, "depth: expected 1 to 10,000 passages, got 0"),
    ],
)
def test_what_cannot_be_searched_is_an_error(session, query, system, depth, message):
    with pytest.raises(InputError, match=message):
        session.search(query, system, depth)


def test_the_longest_query_and_more_passages_than_there_are(session):
    assert len(session.search("a" * LONGEST_QUERY, "den", 10_000).hits) == PASSAGES
    assert session.search("a b", "den", 500).hits[:10] == session.search("a b", "den").hits


def test_passages_are_read_by_row_and_by_id(session, results, monkeypatch):
    for row in (0, 1, 44, PASSAGES - 1):
        passage = session.passage(row)
        assert (passage.id, passage.title, passage.text) == (f"p{row}", small_run.TITLES[row], small_run.TEXTS[row])
        assert session.row_of(f"p{row}") == row
    assert session.row_of("p90") is None
    for row in (-1, PASSAGES):
        with pytest.raises(IndexError):
            session.passage(row)


def test_passages_of_several_row_groups_do_not_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP", 10)
    monkeypatch.setattr(texts, "CACHED_BYTES", 500)
    tiny.save_passages(tmp_path / "passages.parquet", 47)
    passages = texts.Passages(tmp_path / "passages.parquet")
    rows = np.random.default_rng(0).permutation(47).astype(np.int32)
    assert passages.ids(rows) == [f"p{row}" for row in rows]
    assert [passages.passage(int(row)).text for row in rows] == [f"p{row}" for row in rows]
    assert [passages.row_of(f"p{row}") for row in rows] == rows.tolist()
    assert len(passages._texts) < 5


def test_a_run_without_some_files_says_what_is_missing_and_how_to_make_it(results, tmp_path):
    copy = tmp_path / "results" / "small"
    shutil.copytree(results, copy)
    shutil.rmtree(copy / "models" / "untied")
    (copy / "vectors" / "den" / "passages.1.npy").unlink()
    (copy / "vectors" / "lex" / "passages.0.arrow").unlink()
    session = Session.open(copy)
    assert session.systems == ["bag"]
    assert session.unavailable["untied"].startswith("untied: it has no model yet, make it with `snakemake")
    assert "passages.1.npy is missing" in session.unavailable["den"]
    assert session.unavailable["judge"].startswith("judge: it re-ranks den, which cannot answer: the file of passage")
    assert session.unavailable["lex"].startswith("lex: it has no index, and the file of passage vectors")
    assert (session.last_stage, session.default) == ("judge", "bag")
    shutil.rmtree(copy / "models" / "bag")
    with pytest.raises(InputError, match=r"small: no system can answer yet\nbm25: its index(.*\n)*untied: it has no"):
        _ = Session.open(copy).default


def test_results_that_cannot_be_opened_are_errors(results, tmp_path):
    with pytest.raises(InputError, match=r"smal: no such folder \(did you mean small\?\), expected the results"):
        Session.open(results.with_name("smal"))
    with pytest.raises(InputError, match=r"has no report/recipe\.json"):
        Session.open(tmp_path)
    with pytest.raises(InputError, match=r"no system 'judg' \(did you mean judge\?\)"):
        Session.open(results, systems=["judg"])
    with pytest.raises(InputError, match=r"none\.yaml: no such file, expected the config of the run"):
        Session.open(results, config=tmp_path / "none.yaml")
    other = small_run.config()
    other["dataset"]["name"] = "other"
    (tmp_path / "other.yaml").write_text(json.dumps(other))
    with pytest.raises(InputError, match=r"other\.yaml: its dataset is 'other', and the results are .*small; name"):
        Session.open(results, config=tmp_path / "other.yaml")


def test_damaged_files_are_errors_that_name_them(results, tmp_path):
    copy = tmp_path / "results" / "small"
    shutil.copytree(results, copy)
    (copy / "vectors" / "den" / "passages.0.npy").write_bytes(b"no matrix")
    (copy / "vectors" / "lex" / "passages.0.arrow").write_bytes(b"no table")
    np.save(copy / "vectors" / "untied" / "passages.0.npy", np.zeros((45, 3), np.float16))
    (copy / "models" / "bag" / "model.safetensors").write_bytes(b"no weights")
    session = Session.open(copy)
    for name, message in {
        "den": r"den/passages\.0\.npy: ",
        "lex": r"lex/passages\.0\.arrow: ",
        "untied": r"untied/passages\.0\.npy: its shape is \(45, 3\), and the query vectors of .* have 16 dimensions",
        "bag": r"bag.*model\.safetensors",
    }.items():
        with pytest.raises(InputError, match=message):
            session.search("a b", name)

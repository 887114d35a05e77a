"""Exports of lexicon stages and of BM25 with real ids and terms, opened by other tools, against exact rankings."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import opensearch_node
import pytest
from small_results import ENTRIES, ODD_IDS, PASSAGES, blocks, exact, ids, impacts, run_readme, save_results

from led_pipeline.export import lucene
from led_pipeline.export.folder import export
from led_pipeline.export.lucene import read_hits, same_up_to_ties
from led_pipeline.export.options import Options
from led_pipeline.export.source import open_source
from led_pipeline.export.terms import Terms, name
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.layout import Layout
from led_pipeline.search.java import find_jar, find_java

PRUNED = {"family": "lexicon", "top_k_passages": 12, "top_k_queries": 6}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return save_results(tmp_path_factory.mktemp("lexicon"), {"lex": PRUNED})


def unescaped(term: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), term)


def test_terms_are_the_entries_of_the_vocabulary_and_none_has_white_space(results):
    terms = Terms.read(results / "models" / "lex", len(ENTRIES) + 3)
    assert len(set(terms.names)) == len(terms.names) == len(ENTRIES) + 3
    assert not any(re.search(r"\s", term) for term in terms.names)
    assert [unescaped(term) for term in terms.names[: len(ENTRIES)]] == ENTRIES
    changed = [entry for entry, term in zip(ENTRIES, terms.names, strict=False) if entry != term]
    assert changed == ["x y", "tab\there", "\u3000", "x\\u0020y"], "all others stay as they are"
    assert terms.names[-1] == f"[entry-{len(ENTRIES) + 2}]"
    assert terms.placeholder == "[no-term]+", "the vocabulary has an entry [no-term]"


@pytest.mark.parametrize("character", [chr(code) for code in [*range(33), 0x7F, 0x85, 0xA0, 0x1680, 0x2003, 0x2028]])
def test_every_character_that_java_or_python_takes_for_white_space_is_escaped(character):
    assert name(f"a{character}b") == f"a\\u{ord(character):04x}b"


def test_dots_are_escaped_only_where_they_are_refused():
    assert (name("##.b"), name("##.b", dots=False)) == ("##.b", "##\\u002eb")


def test_json_lines_have_the_impacts_by_term(results, tmp_path):
    export(open_source(results, "lex"), ["jsonl"], tmp_path / "out", Options())
    (file,) = (tmp_path / "out" / "jsonl").iterdir()
    documents = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [document["id"] for document in documents] == ids("p", PASSAGES)
    assert all(list(document) == ["id", "contents", "vector"] for document in documents)
    _, passages = impacts(Layout(str(results)), "lex")
    for row, document in enumerate(documents):
        stored = dict(zip(passages.terms[row].tolist(), passages.weights[row].tolist(), strict=True))
        assert {unescaped(term): impact for term, impact in document["vector"].items()} == {
            ENTRIES[term] if term < len(ENTRIES) else f"[entry-{term}]": impact for term, impact in stored.items()
        }
    assert run_readme(tmp_path / "out", "jsonl")[0].startswith(ODD_IDS[0])


def test_a_matrix_has_the_unquantised_weights(results, tmp_path):
    export(open_source(results, "lex"), ["npz"], tmp_path / "out", Options())
    printed, variables = run_readme(tmp_path / "out", "npz")
    assert printed.startswith(ODD_IDS[0]) and variables["ids"][:-1] == ids("p", PASSAGES)
    weights, (_, passages) = variables["weights"], impacts(Layout(str(results)), "lex")
    assert weights.shape == (PASSAGES, len(variables["terms"]))
    np.testing.assert_array_equal(
        np.rint(weights.toarray() * np.float32(100)), passages.matrix(weights.shape[1]).toarray()
    )


def test_opensearch_accepts_the_bulk_requests_and_ranks_like_the_exact_search(results, tmp_path, monkeypatch):
    monkeypatch.setattr("led_pipeline.export.opensearch.PART_BYTES", 20_000)
    note = export(open_source(results, "lex"), ["opensearch"], tmp_path / "out", Options())
    assert note["formats"]["opensearch"]["parts"] > 1
    with opensearch_node.running() as (node, url):
        monkeypatch.setenv("OPENSEARCH_URL", url)
        _, variables = run_readme(tmp_path / "out", "opensearch")
        queries, passages = impacts(Layout(str(results)), "lex")
        terms = Terms.read(results / "models" / "lex", len(ENTRIES) + 3, dots=False).names
        assert sorted(node.indexes["passages"]["documents"]) == sorted(ids("p", PASSAGES))
        for row in range(len(queries)):
            tokens = dict(zip([terms[t] for t in queries.terms[row]], queries.weights[row].tolist(), strict=True))
            body = {"query": {"neural_sparse": {"terms": {"query_tokens": tokens}}}, "size": PASSAGES}
            lines = [{"index": "passages"}, body | {"_source": False, "track_total_hits": False}]
            (answer,) = variables["client"].msearch(body=lines)["responses"]
            exact_scores = passages.matrix(len(terms)) @ queries.matrix(len(terms))[[row]].toarray()[0] / 100
            scores = dict(zip(ids("p", PASSAGES), exact_scores.tolist(), strict=True))
            for hit in answer["hits"]["hits"]:  # the node keeps 9 bits of a weight; impacts are rounded
                assert hit["_score"] == pytest.approx(scores[hit["_id"]], rel=0.03, abs=0.05 * sum(tokens.values()))
            assert {hit["_id"] for hit in answer["hits"]["hits"]} >= {pid for pid, score in scores.items() if score > 0}


@pytest.mark.java
def test_anserini_ranks_the_index_as_the_run_does_with_ties_by_id(results, tmp_path):
    note = export(open_source(results, "lex"), ["lucene"], tmp_path / "out", Options())
    assert note["formats"]["lucene"]["equal_to_the_run"] == 12
    (command,) = blocks(tmp_path / "out", "lucene", "sh")
    words = shlex.split(command.replace("\\\n", " "))
    words = [str(find_java()), *words[1:]]
    words[words.index("-cp") + 1] = str(find_jar())
    subprocess.run(words, check=True, capture_output=True, cwd=tmp_path / "out")
    layout, pids = Layout(str(results)), ids("p", PASSAGES)
    with (tmp_path / "out" / "run.dev.trec").open("rb") as file:
        hits = read_hits(file)
    ranking = exact(layout, "lex", PASSAGES)
    for query, rows, scores in ranking:
        by_score = sorted(zip(-scores, [pids[row] for row in rows], strict=True))  # ties by id, in code points
        expected = [pid for _, pid in by_score][:20]
        assert hits[ids("q", 12)[query]][0] == expected
    searched = simple_searcher(tmp_path / "out" / "lucene", "q0")
    assert [pid for pid, _ in searched] == hits["q0"][0][:5]


def simple_searcher(folder: Path, qid: str) -> list[tuple[str, float]]:
    """Search with the class that pyserini's LuceneImpactSearcher wraps, in a Java of its own process."""
    code = """
import json, sys, jpype
from collections import Counter
from pathlib import Path
java, jar, folder, qid = sys.argv[1:]
jpype.startJVM(next(map(str, Path(java).parents[1].rglob("libjvm.so"))), classpath=[jar])
topic = next(line.split("\\t")[1].split() for line in open(folder + "/topics.dev.tsv") if line.startswith(qid + "\\t"))
query = jpype.JClass("java.util.HashMap")()
for term, impact in Counter(topic).items():
    query.put(term, jpype.java.lang.Integer(impact))
searcher = jpype.JClass("io.anserini.search.SimpleImpactSearcher")(folder + "/index")
print(json.dumps([[str(hit.docid), float(hit.score)] for hit in searcher.search(query, 5)]))
"""
    arguments = [str(find_java()), str(find_jar()), str(folder), qid]
    answer = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.java
def test_bm25_has_real_ids_and_the_scores_of_the_run(results, tmp_path):
    from led_pipeline.data.tables import read_ranking, write_rankings
    from led_pipeline.search.anserini import bm25_index, bm25_search

    layout = Layout(str(results))
    passages, queries = Path(layout.passages), Path(layout.queries("dev"))
    bm25_index(passages, tmp_path / "bm25", 1)
    write_rankings(layout.ranking("bm25", "dev"), bm25_search(tmp_path / "bm25", queries, passages, 0.9, 0.4, 20, 1))
    note = export(open_source(results, "bm25"), [], tmp_path / "out", Options())
    assert note["formats"]["lucene"]["equal_to_the_run"] == 12
    stored = read_ranking(layout.ranking("bm25", "dev"))
    lines = (tmp_path / "out" / "lucene" / "topics.dev.tsv").read_text().splitlines(keepends=True)
    hits = lucene.searched(tmp_path / "out" / "lucene" / "index", lines, ["-bm25"], 20, 1)
    assert set(hits) == set(ids("q", 12)) and set(hits["q0"][0]) <= set(ids("p", PASSAGES))
    np.testing.assert_allclose(hits["q0"][1], stored.scores[0], atol=1e-3)


def test_rankings_are_equal_up_to_the_order_of_ties():
    one = (["a", "b", "c", "d"], [3.0, 2.0, 2.0, 1.0])
    assert same_up_to_ties(one, (["a", "c", "b", "e"], [3.0, 2.0, 1.9999, 1.0]), 0.01), "d and e tie at the cut-off"
    assert not same_up_to_ties(one, (["a", "b", "e", "d"], [3.0, 2.0, 2.0, 1.0]), 0.01)
    assert not same_up_to_ties(one, (["b", "a", "c", "d"], [3.0, 2.0, 2.0, 1.0]), 0.01)
    assert not same_up_to_ties(one, (["a", "b", "c", "d"], [3.0, 2.0, 2.0, 0.5]), 0.01)
    assert not same_up_to_ties(one, (["a", "b", "c"], [3.0, 2.0, 2.0]), 0.01)
    assert same_up_to_ties(([], []), ([], []), 0.01)


def test_an_index_that_ranks_otherwise_is_an_error_and_leaves_nothing(results, tmp_path, monkeypatch):
    monkeypatch.setattr(lucene, "fill_index", lambda *_, **__: None)
    monkeypatch.setattr(lucene, "searched", lambda *_: {"q0": (["p9"], [1.0])})
    with pytest.raises(
        InputError, match=r"Anserini ranks 12 of 12 queries differently .* the run's files do not belong"
    ):
        export(open_source(results, "lex"), ["lucene"], tmp_path / "out", Options())
    assert list(tmp_path.iterdir()) == []

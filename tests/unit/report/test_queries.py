"""Queries one by one: ranks, lengths, overlaps and groups, each against a plain loop."""

import re

import numpy as np
import pytest

from led_pipeline.data.formats.judgements import read_run, write_qrels
from led_pipeline.data.tables import Ragged, Ranking, read_some, write_ranking, write_strings
from led_pipeline.evaluation.evaluate import export_run
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.report.queries import by_length, by_overlap, by_rank, group_means, overlap, read_queries

PASSAGES, QUERIES, DEPTH = 40, 60, 12
WORDS = ["Heap", "queue", "priority", "the", "ÉTÉ", "x_1", "don't", "naïve", "of", "a"]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "queries are passages"])
def small(request, tmp_path_factory):
    """A run of two systems with several positives per query, in some cases with the query among the passages."""
    root, random = tmp_path_factory.mktemp("run"), np.random.default_rng(7)
    layout = Layout(root)
    ids = [f"p{i}" for i in range(PASSAGES)]
    texts = [" ".join(random.choice(WORDS, size=6)) for _ in ids]
    qids = [ids[i] if request.param and i % 2 else f"q{i}" for i in range(QUERIES) if i < PASSAGES or not request.param]
    questions = [" ".join(random.choice(WORDS, size=1 + int(random.integers(9)))) for _ in qids]
    questions[3] = "?!"
    write_strings(layout.passages, [{"id": ids, "title": ["T"] * PASSAGES, "text": texts}], ["id", "title", "text"])
    write_strings(layout.queries("dev"), [{"id": qids, "text": questions}], ["id", "text"])
    grades = [
        (qid, ids[int(row)], int(random.integers(3))) for qid in qids for row in random.choice(PASSAGES, 3, False)
    ]
    (root / "prepared").mkdir(exist_ok=True)
    write_qrels(layout.qrels("dev"), grades)
    for system in ("bm25", "den"):
        rows = [random.permutation(PASSAGES)[: int(random.integers(1, 20))] for _ in qids]
        scores = [np.arange(len(row), 0, -1) for row in rows]
        lists = Ragged.from_rows(rows, np.int32), Ragged.from_rows(scores, np.float32)
        write_ranking(layout.ranking(system, "dev"), Ranking(np.arange(len(qids), dtype=np.int32), *lists))
    dataset = {
        "name": "x", "source": "folder", "folder": "x", "splits": {"train": {}, "dev": {"relevant_from": 2}},
        "exclude_query_id": request.param,
    }  # fmt: skip
    stages = {"den": {"family": "dense", "init": "some/encoder", "negatives": ["bm25"]}}
    recipe = load_recipe({"dataset": dataset, "stages": stages, "evaluation": {"depth": DEPTH}})
    tables = {name: {qid: {"MRR@10": i / 100} for i, qid in enumerate(qids)} for name in ("bm25", "den")}
    return recipe, root, read_queries(recipe, root, "dev", "MRR@10", tables), grades, dict(zip(ids, texts, strict=True))


def test_ranks_are_those_of_the_run_files(small, tmp_path):
    recipe, root, queries, grades, _ = small
    layout = Layout(root)
    relevant = {qid: {p for q, p, grade in grades if q == qid and grade >= 2} for qid in queries.frame["qid"]}
    for system in ("bm25", "den"):
        out = tmp_path / "run.trec"
        files = [layout.ranking(system, "dev"), layout.queries("dev"), layout.passages]
        export_run(*map(type(root), files), system, DEPTH, recipe.dataset.exclude_query_id, out)
        run = {qid: pids for qid, pids, _ in read_run(out)}
        for qid, rank in zip(queries.frame["qid"], queries.ranks[system], strict=True):
            places = [i for i, pid in enumerate(run.get(qid, []), 1) if pid in relevant[qid]]
            assert (None if np.isnan(rank) else rank) == (places[0] if places else None)


def test_lengths_and_overlaps_equal_plain_loops(small):
    _, _, queries, grades, texts = small
    for row in queries.frame.itertuples():
        query = re.findall(r"\w+", row.text.casefold())
        assert row.words == len(query)
        shares = []
        for qid, pid, grade in grades:
            if qid == row.qid and grade >= 2 and query:
                text = set(re.findall(r"\w+", f"T {texts[pid]}".casefold()))
                shares.append(sum(word in text for word in set(query)) / len(set(query)))
        assert (None if np.isnan(row.overlap) else row.overlap) == (max(shares) if shares else None)


def test_every_query_is_in_the_group_whose_name_holds_it(small):
    _, _, queries, _, _ = small
    length, share, rank = queries.groups
    for row, i, j, k, of_bm25 in zip(
        queries.frame.itertuples(), length.of, share.of, rank.of, queries.ranks["bm25"], strict=True
    ):
        first, _, last = length.names[i].partition("–")
        assert int(first) <= row.words <= int(last or first)
        assert (j == -1) == bool(np.isnan(row.overlap))
        first, _, last = rank.names[k].partition("–")
        assert rank.names[k] == "not in 12" if np.isnan(of_bm25) else int(first) <= of_bm25 <= int(last or first)


def test_groups_have_edges_that_a_reader_expects():
    shares = np.array([0.0, 0.1, 0.25, 0.26, 0.5, 0.75, 0.76, 1.0, np.nan])
    groups = by_overlap(shares)
    names = [groups.names[i] if i >= 0 else None for i in groups.of]
    assert names == [
        "none",
        "up to 25 %",
        "up to 25 %",
        "up to 50 %",
        "up to 50 %",
        "up to 75 %",
        "below 100 %",
        "all",
        None,
    ]
    ranks = by_rank(np.array([1.0, 2, 3, 4, 10, 11, 100, 101, 1000, np.nan]), 1000)
    assert ranks.names == ["1", "2–3", "4–10", "11–100", "101–1,000", "not in 1,000"]
    assert ranks.of.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert by_rank(np.array([1.0, np.nan]), 2).names == ["1", "2", "not in 2"]
    same = by_length(np.array([7, 7, 7]))
    assert (same.names, same.of.tolist()) == (["7"], [0, 0, 0])


def test_means_of_groups_are_over_their_queries(small):
    _, _, queries, _, _ = small
    for groups in queries.groups:
        means = group_means(queries, groups, ["den"])
        assert means["queries"].sum() == (groups.of >= 0).sum()
        for name, row in means.iterrows():
            members = [
                v for v, g in zip(queries.values["den"], groups.of, strict=True) if g >= 0 and groups.names[g] == name
            ]
            assert (row["queries"], row["den"]) == (len(members), pytest.approx(sum(members) / len(members)))


def test_a_query_without_words_or_positives_has_no_overlap():
    assert np.isnan(overlap("?!", ["text"])) and np.isnan(overlap("text", []))
    assert overlap("The heap", ["a heap", "the queue of the heap"]) == 1.0


def test_rows_are_read_from_several_row_groups(tmp_path):
    path = tmp_path / "t.parquet"
    batches = [{"id": [f"{i}-{j}" for j in range(5)], "text": [f"text {i}-{j}" for j in range(5)]} for i in range(4)]
    write_strings(path, batches, ["id", "text"])
    assert read_some(path, {0, 7, 19}, ["text"]) == {
        0: {"text": "text 0-0"},
        7: {"text": "text 1-2"},
        19: {"text": "text 3-4"},
    }
    assert read_some(path, set(), ["text"]) == {}


def test_without_the_files_of_a_split_there_is_no_table(small, tmp_path):
    recipe = small[0]
    assert read_queries(recipe, tmp_path, "dev", "MRR@10", {"bm25": {}}) is None

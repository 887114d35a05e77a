import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator

from led_pipeline.data.tables import Ragged, Ranking, read_column, write_ranking, write_strings
from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.inference import batches
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.training.validation import Reranking, by_id
from led_pipeline.training.validation_measures import values

CPU = torch.device("cpu")
DEPTH = 15


@pytest.mark.parametrize(
    ("scores", "relevant", "expected"),
    [
        ([1.0, 5.0, 3.0], [0, 1, 0], 1.0),
        ([1.0, 5.0, 3.0], [1, 0, 0], 1 / 3),
        ([1.0, 5.0, 3.0], [1, 0, 1], 1 / 2),
        ([1.0, 5.0, 3.0], [0, 0, 0], 0.0),
        ([2.0, 2.0, 2.0], [0, 1, 0], 1 / 2),  # among ties the earlier candidate wins
        ([float(-i) for i in range(12)], [0] * 9 + [1, 0, 0], 1 / 10),
        ([float(-i) for i in range(12)], [0] * 10 + [1, 1], 0.0),
        ([], [], 0.0),
    ],
)
def test_the_rank_is_that_of_the_best_relevant_candidate_within_ten(scores, relevant, expected):
    rows = np.arange(len(scores))
    assert values(["MRR@10"], [(rows, np.array(scores))], [dict(enumerate(relevant))]) == [{"MRR@10": expected}]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Write a dataset with a ranking of 20 passages for 9 of 10 queries; return its folder and the ranking."""
    folder = tmp_path_factory.mktemp("validation")
    tiny.save_dataset(folder)
    random = np.random.default_rng(0)
    rows = [random.permutation(30)[:20] for _ in range(9)]
    scores = [-np.arange(20) for _ in rows]
    ranking = Ranking(
        np.arange(1, 10, dtype=np.int32), Ragged.from_rows(rows, np.int32), Ragged.from_rows(scores, np.float32)
    )
    write_ranking(folder / "ranking.parquet", ranking)
    judged = [f"{i}\t0\t{row}\t{grade}\n" for i, r in enumerate(rows, 1) for row, grade in ((r[i], 1), (r[0], 0))]
    judged += ["3\t0\t29\t2\n"]
    (folder / "dev.qrels").write_text("".join(judged))
    return folder, ranking


def reranking(
    folder, settings, queries: int, ranking: str | None = "ranking.parquet", names=None, **validation
) -> Reranking:
    names = {"queries": "queries.parquet", "qrels": "dev.qrels"} | (names or {})
    files = tiny.validation(folder, ranking, queries=queries, depth=DEPTH, **validation)
    ids = folder / names["queries"], folder / "passages.parquet"
    files = replace(files, qrels=folder / names["qrels"], ids=ids)
    return Reranking.read(files, [folder / "passages.arrow"], settings, Accelerator(cpu=True))


def score_of(model, settings, stores, query: int, passage: int) -> float:
    """Return the score of one pair, each text encoded alone."""
    if settings.family == "ranker":
        return model(to_packed_batch(pairs(stores[0], [query], 8, stores[1], [passage], 20), CPU)).item()
    sides = zip(stores, (query, passage), (8, 20), strict=True)
    left, right = (model(to_packed_batch(store.texts([row], length), CPU))[0] for store, row, length in sides)
    return (left @ right).item()


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("queries", [4, 9, 1_000])
@torch.no_grad()
def test_mrr_reranks_the_candidates_of_the_first_queries(dataset, monkeypatch, family, queries):
    monkeypatch.setitem(batches.TOKENS_PER_BATCH, "cpu", 100)
    folder, ranking = dataset
    settings = tiny.settings(family)
    model = tiny.start(folder / family, settings)
    stores = TokenStore([folder / "queries.arrow"]), TokenStore([folder / "passages.arrow"])
    total, counted = 0.0, 0
    for i, (query, passages, _) in enumerate(ranking):
        if i >= queries:
            break
        relevant = {int(passages[query])} | ({29} if query == 3 else set())
        scores = {p: score_of(model, settings, stores, query, p) for p in passages[:DEPTH].tolist()}
        ranked = sorted(scores, key=scores.get, reverse=True)  # stable: a tie stays as it was ranked
        ranks = [rank for rank, p in enumerate(ranked[:10], 1) if p in relevant]
        total += 1 / ranks[0] if ranks else 0.0
        counted += 1
    assert reranking(folder, settings, queries).means(model) == {"MRR@10": pytest.approx(total / counted)}
    assert total > 0


@pytest.mark.parametrize(
    ("ids", "order"),
    [
        (["100", "20", "3", "20000000000", "0"], [4, 2, 1, 0, 3]),
        (["q100", "q20", "q3"], [0, 1, 2]),
        (["100", "20", "b3"], [0, 1, 2]),
        (["1" * 30, "20", "3"], [0, 1, 2]),
        ([], []),
    ],
)
def test_ids_sort_as_numbers_if_all_are_numbers(ids, order):
    assert by_id(ids).tolist() == order


def test_the_queries_with_the_lowest_ids_are_validated(dataset):
    folder, ranking = dataset
    names = ["7", "100", "20", "3", "1000", "9", "10", "88", "5", "60"]  # by row; row 0 has no ranking
    write_strings(folder / "numbers.parquet", [{"id": names}], ["id"])
    rows = [(3, 29)] + [(query, int(passages[0])) for query, passages, _ in ranking]
    (folder / "numbers.qrels").write_text("".join(f"{names[query]}\t0\t{row}\t1\n" for query, row in rows))
    read = reranking(folder, tiny.settings("dense"), 4, names={"queries": "numbers.parquet", "qrels": "numbers.qrels"})
    assert [names[query] for query in ranking.queries[read.sample]] == ["3", "5", "9", "10"]


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("MRR@1", 0.0),
        ("MRR@10", 1 / 2),
        ("P@2", 1 / 2),
        ("recall@2", 1 / 3),  # of rows 11, 12 and 99, which is no candidate
        ("hit@2", 1.0),
        ("hit@1", 0.0),
        ("MAP@3", (1 / 2 + 2 / 3) / 3),
        ("MRR", 1 / 2),
        ("MAP", (1 / 2 + 2 / 3) / 3),
        ("Rprec", 2 / 3),  # of the first 3, since 3 passages are relevant
        ("nDCG@3", (3 / math.log2(3) + 1 / 2) / (3 + 2 / math.log2(3) + 1 / 2)),
    ],
)
def test_a_measure_of_one_query_by_hand(measure, expected):
    # Ranked: 10 (not relevant), 11 (grade 3), 12 (grade 1); judged and not found: 99 (grade 2).
    candidates = np.array([12, 11, 10]), np.array([0.1, 0.2, 0.3])
    assert values([measure], [candidates], [{10: 0, 11: 3, 12: 1, 99: 2}]) == [{measure: pytest.approx(expected)}]


def test_among_ties_the_earlier_candidate_wins_in_every_measure():
    candidates = np.array([9, 10]), np.zeros(2)
    measures = ["MRR@1", "P@1", "recall@1", "hit@1", "nDCG@1", "MAP@1", "Rprec"]
    expected = [dict.fromkeys(measures, value) for value in (1.0, 0.0)]
    assert values(measures, [candidates, candidates], [{9: 1}, {10: 1}]) == expected


def test_a_query_without_relevant_passages_counts_0():
    candidates = np.array([9, 10]), np.zeros(2)
    measures = ["MRR@10", "nDCG@10", "recall@10", "MAP"]
    assert values(measures, [candidates, candidates], [{}, {9: 0}]) == [dict.fromkeys(measures, 0.0)] * 2


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("ranking", ["ranking.parquet", None])
@torch.no_grad()
def test_a_querys_own_passage_can_be_left_out_before_the_candidates_are_counted(dataset, family, ranking):
    folder, ranked = dataset
    settings = tiny.settings(family)
    model = tiny.start(folder / family, settings)
    ids = read_column(folder / "passages.parquet", "id")
    # One of the first candidates, or the positive among the judged passages; a different one for each query.
    own_passage: dict[int, int] = {}
    for query, passages, _ in ranked:
        rows = passages[:DEPTH] if ranking else passages[[query, 0]]
        own_passage[query] = next(int(row) for row in rows if row not in own_passage.values())
    names = [ids[own_passage[query]] if query in own_passage else "none" for query in range(10)]
    write_strings(folder / "renamed.parquet", [{"id": names}], ["id"])
    lines = [line.split("\t") for line in (folder / "dev.qrels").read_text().splitlines()]
    by_name = dict(zip(read_column(folder / "queries.parquet", "id"), names, strict=True))
    (folder / "renamed.qrels").write_text("".join("\t".join([by_name[q], *rest]) + "\n" for q, *rest in lines))
    expected = 0.0
    stores = TokenStore([folder / "queries.arrow"]), TokenStore([folder / "passages.arrow"])
    for query, passages, _ in ranked:
        relevant = {int(passages[query])} | ({29} if query == 3 else set())
        pool = passages.tolist() if ranking else sorted({*relevant, int(passages[0])})
        pool = [p for p in pool if p != own_passage[query]][:DEPTH]
        scores = {p: score_of(model, settings, stores, query, p) for p in pool}
        best = sorted(scores, key=scores.get, reverse=True)
        expected += next((1 / rank for rank, p in enumerate(best[:10], 1) if p in relevant), 0.0) / 9
    names = {"queries": "renamed.parquet", "qrels": "renamed.qrels"}
    validation = reranking(folder, settings, 9, ranking, names, exclude_query_id=True)
    assert validation.means(model)["MRR@10"] == pytest.approx(expected)
    assert expected != pytest.approx(reranking(folder, settings, 9, ranking, names).means(model)["MRR@10"])


@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.no_grad()
def test_validation_can_rank_only_judged_passages_by_another_measure(dataset, family):
    folder, ranking = dataset
    settings = tiny.settings(family)
    model = tiny.start(folder / family, settings)
    stores = TokenStore([folder / "queries.arrow"]), TokenStore([folder / "passages.arrow"])
    expected = []
    for query, passages, _ in list(ranking)[:5]:
        grades = {int(passages[query]): 1, int(passages[0]): 0} | ({29: 2} if query == 3 else {})
        scores = {p: score_of(model, settings, stores, query, p) for p in sorted(grades)}
        ranked = sorted(scores, key=scores.get, reverse=True)
        gains = [[grades[p] for p in ranked], sorted(grades.values(), reverse=True)]
        gain, ideal = (sum(g / math.log2(rank + 1) for rank, g in enumerate(side, 1)) for side in gains)
        expected.append(gain / ideal)
    judged = reranking(folder, settings, 5, ranking=None, measure="nDCG@10")
    assert judged.means(model) == {"nDCG@10": pytest.approx(np.mean(expected))}
    assert min(expected) < 1

import argparse

import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator

from led_pipeline.data.tables import Ragged, Ranking, write_ranking
from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.models import inference
from led_pipeline.models.backbone import to_texts
from led_pipeline.models.checkpoint import load
from led_pipeline.validation import Reranking, reciprocal_rank

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
    assert reciprocal_rank(np.array(scores), np.array(relevant, dtype=bool)) == expected


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


def reranking(folder, queries: int) -> Reranking:
    arguments = argparse.Namespace(
        validation={"queries": queries, "depth": DEPTH},
        validation_ranking=folder / "ranking.parquet",
        validation_queries=folder / "queries.arrow",
        validation_qrels=folder / "dev.qrels",
        validation_ids=[folder / "queries.parquet", folder / "passages.parquet"],
        settings={"family": "dense"},
        passages=[folder / "passages.arrow"],
    )
    return Reranking.read(arguments, Accelerator(cpu=True))


def score_of(model, settings, stores, query: int, passage: int) -> float:
    """Return the score of one pair, each text encoded alone."""
    if settings["family"] == "ranker":
        return model(to_texts(pairs(stores[0], [query], 8, stores[1], [passage], 20), CPU)).item()
    sides = zip(stores, (query, passage), (8, 20), strict=True)
    left, right = (model(to_texts(store.texts([row], length), CPU))[0] for store, row, length in sides)
    return (left @ right).item()


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("queries", [4, 9, 1_000])
@torch.no_grad()
def test_mrr_reranks_the_first_queries_candidates(dataset, monkeypatch, family, queries):
    monkeypatch.setitem(inference.TOKENS_PER_BATCH, "cpu", 100)
    folder, ranking = dataset
    settings = tiny.settings(family)
    model = load(folder / family, settings)[0]
    stores = TokenStore([folder / "queries.arrow"]), TokenStore([folder / "passages.arrow"])
    total, counted = 0.0, 0
    for i, (query, passages, _) in enumerate(ranking):
        if i >= queries:
            break
        relevant = {int(passages[query])} | ({29} if query == 3 else set())
        scores = {p: score_of(model, settings, stores, query, p) for p in passages[:DEPTH].tolist()}
        ranked = sorted(scores, key=scores.get, reverse=True)  # stable: a tie stays as it was ranked
        found = [rank for rank, p in enumerate(ranked[:10], 1) if p in relevant]
        total += 1 / found[0] if found else 0.0
        counted += 1
    assert reranking(folder, queries).mrr(model, settings) == pytest.approx(total / counted)
    assert total > 0

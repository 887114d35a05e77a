"""Validation during training: re-rank one system's best passages for a few queries, and measure MRR@10."""

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from led_pipeline.data.pools import judged_rows
from led_pipeline.data.tables import Ranking, read_ranking
from led_pipeline.data.tokens import TokenStore
from led_pipeline.models import inference
from led_pipeline.models.sides import side


def reciprocal_rank(scores: NDArray, relevant: NDArray[np.bool_], cut: int = 10) -> float:
    """Return 1 / rank of the best relevant candidate within the first `cut`, else 0; among ties the earlier wins."""
    order = np.argsort(-scores, kind="stable")[:cut]
    hits = np.flatnonzero(relevant[order])
    return 1.0 / (hits[0] + 1) if len(hits) else 0.0


@dataclass(frozen=True)
class Reranking:
    """A few queries with the candidates to re-rank; each process takes its share of the queries."""

    queries: TokenStore
    passages: TokenStore
    ranking: Ranking
    relevant: dict[int, set[int]]
    sample: NDArray[np.int64]  # positions in the ranking
    depth: int
    accelerator: Accelerator

    @classmethod
    def read(cls, a: argparse.Namespace, accelerator: Accelerator) -> "Reranking":
        """Read what the command line of `train` names; the first queries of the split are taken, as LED does."""
        ranking = read_ranking(a.validation_ranking)
        relevant = judged_rows(a.validation_qrels, *a.validation_ids, from_grade=1)
        sample = np.arange(min(a.validation["queries"], len(ranking)))
        stores = [TokenStore.for_stage(shards, a.settings) for shards in ([a.validation_queries], a.passages)]
        return cls(*stores, ranking, relevant, sample, a.validation["depth"], accelerator)

    def mrr(self, model: nn.Module, settings: dict) -> float:
        """Return MRR@10 over the sampled queries; a query whose relevant passages are no candidates counts as 0."""
        mine = self.sample[self.accelerator.process_index :: self.accelerator.num_processes]
        total = self._sum(model, settings, mine) if len(mine) else 0.0
        summed = self.accelerator.reduce(
            torch.tensor(total, dtype=torch.float64, device=self.accelerator.device), "sum"
        )
        return float(summed) / len(self.sample)

    def _sum(self, model: nn.Module, settings: dict, mine: NDArray[np.int64]) -> float:
        """Return the sum of the reciprocal ranks of some queries, given as positions in the ranking."""
        queries = self.ranking.queries[mine]
        candidates = [self.ranking.passages[i][: self.depth] for i in mine]
        lengths = [len(rows) for rows in candidates]
        pair_rows = np.repeat(queries, lengths), np.concatenate(candidates)
        if settings["family"] == "ranker":
            scores = inference.score(model, self.queries, self.passages, pair_rows, settings, self.accelerator.device)
        else:
            scores = self._dot_products(model, settings, *pair_rows)
        total = 0.0
        for query, rows, own in zip(queries, candidates, np.split(scores, np.cumsum(lengths)[:-1]), strict=True):
            total += reciprocal_rank(own, np.isin(rows, list(self.relevant.get(int(query), ()))))
        return total

    def _dot_products(
        self, model: nn.Module, settings: dict, queries: NDArray, passages: NDArray
    ) -> NDArray[np.float32]:
        """Return the score of each pair; every text is encoded once, and the device hands the scores over at the end.

        A batch of passages meets all queries in one product, of which the pairs' entries are kept.
        """
        device = self.accelerator.device
        query_rows, query_of = np.unique(queries, return_inverse=True)
        passage_rows, passage_of = np.unique(passages, return_inverse=True)
        left = self._vectors(side(model, "query"), self.queries, query_rows, settings["query_length"])
        scores = torch.empty(len(queries), dtype=torch.float32, device=device)
        order = np.argsort(passage_of, kind="stable")
        bounds = np.searchsorted(passage_of[order], np.arange(len(passage_rows) + 1))

        def keep(group: NDArray[np.int64], vectors: Tensor) -> None:
            own = np.concatenate([order[bounds[index] : bounds[index + 1]] for index in group])
            column = np.repeat(np.arange(len(group)), bounds[group + 1] - bounds[group])
            own, row, column = (torch.from_numpy(index).to(device) for index in (own, query_of[own], column))
            scores[own] = (left @ vectors.T)[row, column]

        encoder = side(model, "passage")
        inference.encode(encoder, self.passages, passage_rows, settings["passage_length"], device, keep)
        return scores.cpu().numpy()

    def _vectors(self, model: nn.Module, store: TokenStore, rows: NDArray, length: int) -> Tensor:
        found: list = [None] * len(rows)

        def keep(group: NDArray[np.int64], vectors: Tensor) -> None:
            for vector, index in zip(vectors, group, strict=True):
                found[index] = vector

        inference.encode(model, store, rows, length, self.accelerator.device, keep)
        return torch.stack(found)

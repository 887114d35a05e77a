"""Validation during training: rank a few candidates of a few queries anew, and measure it, by MRR@10 unless told.

The candidates are one system's best passages, or the judged passages alone. The latter need no search and come close to
what separates right from wrong where the judgements hold negatives, but say nothing about the rest of the collection.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from led_pipeline.data.pools import judged_grades, unjudged, with_own
from led_pipeline.data.tables import Ragged, Ranking, read_column, read_ranking
from led_pipeline.data.tokens import TokenStore
from led_pipeline.inference import batches
from led_pipeline.models.sides import side
from led_pipeline.training.validation_measures import values


def judged_alone(grades: dict[int, dict[int, int]]) -> Ranking:
    """Return a ranking of each query's judged passages, in the order of the collection; their scores say nothing."""
    queries = sorted(query for query, judged in grades.items() if judged)
    passages = Ragged.from_rows([np.array(sorted(grades[query])) for query in queries], np.int32)
    scores = Ragged(np.zeros(len(passages.values), dtype=np.float32), passages.offsets)
    return Ranking(np.array(queries, dtype=np.int32), passages, scores)


def by_id(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the positions of ids in ascending order: of numbers where all are whole ones, else of texts.

    Source: the order in which LED's code takes its validation queries.
    """
    numbers = all(name.isascii() and name.isdigit() and len(name) < 19 for name in ids)
    return np.argsort(np.array(ids, dtype=np.int64 if numbers else object), kind="stable")


@dataclass(frozen=True)
class Reranking:
    """A few queries with the candidates to re-rank; each process takes its share of the queries."""

    queries: TokenStore
    passages: TokenStore
    ranking: Ranking
    grades: dict[int, dict[int, int]]  # query row -> passage row -> grade
    sample: NDArray[np.int64]  # positions in the ranking
    depth: int | None  # None: all candidates
    measure: str
    accelerator: Accelerator
    left_out: dict[int, set[int]] = field(default_factory=dict)  # query row -> passage rows that are no candidates

    @classmethod
    def read(cls, a: argparse.Namespace, accelerator: Accelerator) -> "Reranking":
        """Read what the command line of `train` names; of the queries those with the lowest ids are taken."""
        grades = judged_grades(a.validation_qrels, *a.validation_ids)
        ranking = read_ranking(a.validation_ranking) if a.validation_ranking else judged_alone(grades)
        ids = read_column(a.validation_ids[0], "id")
        sample = by_id([ids[query] for query in ranking.queries])[: a.validation["queries"]]
        stores = [TokenStore.for_stage(shards, a.settings) for shards in ([a.validation_queries], a.passages)]
        depth = a.validation["depth"] if a.validation_ranking else None
        own = with_own({}, *a.validation_ids) if a.validation["exclude_query_id"] else {}
        return cls(*stores, ranking, grades, sample, depth, a.validation["measure"], accelerator, own)

    def mean(self, model: nn.Module, settings: dict) -> float:
        """Return the measure's mean over the sampled queries; one whose relevant passages are no candidates counts."""
        mine = self.sample[self.accelerator.process_index :: self.accelerator.num_processes]
        total = self._sum(model, settings, mine) if len(mine) else 0.0
        summed = self.accelerator.reduce(
            torch.tensor(total, dtype=torch.float64, device=self.accelerator.device), "sum"
        )
        return float(summed) / len(self.sample)

    def _sum(self, model: nn.Module, settings: dict, mine: NDArray[np.int64]) -> float:
        """Return the sum of the values of some queries, given as positions in the ranking."""
        queries = self.ranking.queries[mine]
        listed = zip(queries, (self.ranking.passages[i] for i in mine), strict=True)
        candidates = [rows[unjudged(rows, self.left_out.get(query, ()), self.depth)] for query, rows in listed]
        lengths = [len(rows) for rows in candidates]
        pair_rows = np.repeat(queries, lengths), np.concatenate(candidates)
        if settings["family"] == "ranker":
            scores = batches.score(model, self.queries, self.passages, pair_rows, settings, self.accelerator.device)
        else:
            scores = self._dot_products(model, settings, *pair_rows)
        scored = list(zip(candidates, np.split(scores, np.cumsum(lengths)[:-1]), strict=True))
        return sum(values(self.measure, scored, [self.grades.get(int(query), {}) for query in queries]))

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
        batches.encode(encoder, self.passages, passage_rows, settings["passage_length"], device, keep)
        return scores.cpu().numpy()

    def _vectors(self, model: nn.Module, store: TokenStore, rows: NDArray, length: int) -> Tensor:
        found: list = [None] * len(rows)

        def keep(group: NDArray[np.int64], vectors: Tensor) -> None:
            for vector, index in zip(vectors, group, strict=True):
                found[index] = vector

        batches.encode(model, store, rows, length, self.accelerator.device, keep)
        return torch.stack(found)

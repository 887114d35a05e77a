"""Validation: re-rank a few candidates of a few queries with the model in training, and measure the ranking.

The candidates are the best passages of another system, or the judged passages alone. The latter need no search; they
show whether the model tells positives from judged negatives, and say nothing about the rest of the collection.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from led_pipeline.data.pools import judged_grades, unjudged, with_own
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranking, read_column, read_ranking
from led_pipeline.data.tokens import TokenStore
from led_pipeline.inference import batches
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.recipe.step_settings import RankerTraining, TrainingSettings, ValidationSettings
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
class ValidationFiles:
    """The files that a validation reads."""

    settings: ValidationSettings
    """How to validate, and how often."""
    queries: Path
    """Token ids of the queries of the validation split."""
    qrels: Path
    """Their qrels."""
    ids: tuple[Path, Path]
    """Prepared queries of the split and prepared passages, whose ids the qrels name."""
    ranking: Path | None = None
    """The candidates; without it the judged passages are the candidates."""


@dataclass(frozen=True)
class Reranking:
    """A few queries with the candidates to re-rank; each process takes its share of the queries."""

    queries: TokenStore
    passages: TokenStore
    ranking: Ranking
    """Candidates of all queries of the split."""
    grades: Mapping[int, Mapping[int, int]]
    """Query row -> passage row -> grade."""
    sample: NDArray[np.int64]
    """Positions in the ranking of the queries that are re-ranked."""
    depth: int | None
    """Candidates per query; None: all."""
    measures: Sequence[str]
    """Such as MRR@10; the first one decides about the weights."""
    settings: TrainingSettings
    """Of the model that is validated."""
    accelerator: Accelerator
    excluded: Mapping[int, Collection[int]] = field(default_factory=dict)
    """Query row -> passage rows that are no candidates."""

    @classmethod
    def read(
        cls, files: ValidationFiles, passages: Sequence[Path], settings: TrainingSettings, accelerator: Accelerator
    ) -> "Reranking":
        """Read the files of a validation, and take the queries with the lowest ids.

        Args:
            passages: token ids of the collection.
        """
        grades = judged_grades(files.qrels, *files.ids)
        ranking = read_ranking(files.ranking) if files.ranking else judged_alone(grades)
        ids = read_column(files.ids[0], "id")
        sample = by_id([ids[query] for query in ranking.queries])[: files.settings.queries]
        stores = [TokenStore.for_stage(shards, settings) for shards in ([files.queries], passages)]
        depth = files.settings.depth if files.ranking else None
        excluded = with_own({}, *files.ids) if files.settings.exclude_query_id else {}
        measures = list(dict.fromkeys([files.settings.measure, *files.settings.also]))
        return cls(stores[0], stores[1], ranking, grades, sample, depth, measures, settings, accelerator, excluded)

    def means(self, model: nn.Module) -> dict[str, float]:
        """Return each measure's mean over the sampled queries, those without a relevant candidate included."""
        local = self.sample[self.accelerator.process_index :: self.accelerator.num_processes]
        totals = self._sums(model, local) if len(local) else [0.0] * len(self.measures)
        summed = self.accelerator.reduce(
            torch.tensor(totals, dtype=torch.float64, device=self.accelerator.device), "sum"
        )
        return dict(zip(self.measures, (summed / len(self.sample)).tolist(), strict=True))

    def _sums(self, model: nn.Module, sample: NDArray[np.int64]) -> list[float]:
        """Return the sum of each measure over some queries, which are positions in the ranking."""
        queries = self.ranking.queries[sample]
        ranked = zip(queries, (self.ranking.passages[i] for i in sample), strict=True)
        candidates = [rows[unjudged(rows, self.excluded.get(query, ()), self.depth)] for query, rows in ranked]
        lengths = [len(rows) for rows in candidates]
        pair_rows = np.repeat(queries, lengths), np.concatenate(candidates)
        if isinstance(self.settings, RankerTraining):
            device = self.accelerator.device
            scores = batches.score(model, self.queries, self.passages, pair_rows, self.settings, device)
        else:
            scores = self._dot_products(model, *pair_rows)
        scored = list(zip(candidates, np.split(scores, np.cumsum(lengths)[:-1]), strict=True))
        by_query = values(self.measures, scored, [self.grades.get(int(query), {}) for query in queries])
        return [sum(measured[name] for measured in by_query) for name in self.measures]

    def _dot_products(self, model: nn.Module, queries: NDArray, passages: NDArray) -> NDArray[np.float32]:
        """Return the score of each pair; every text is encoded once, and the scores leave the device at the end.

        Each batch of passages is multiplied with all queries, and the entries of the pairs are taken.
        """
        device = self.accelerator.device
        query_rows, query_of = np.unique(queries, return_inverse=True)
        passage_rows, passage_of = np.unique(passages, return_inverse=True)
        left = self._vectors(encoder_of(model, "query"), self.queries, query_rows, self.settings.query_length)
        scores = torch.empty(len(queries), dtype=torch.float32, device=device)
        order = np.argsort(passage_of, kind="stable")
        bounds = np.searchsorted(passage_of[order], np.arange(len(passage_rows) + 1))

        def store(group: NDArray[np.int64], vectors: Tensor) -> None:
            pair_of = np.concatenate([order[bounds[index] : bounds[index + 1]] for index in group])
            column_of = np.repeat(np.arange(len(group)), bounds[group + 1] - bounds[group])
            pair, row, column = (torch.from_numpy(i).to(device) for i in (pair_of, query_of[pair_of], column_of))
            scores[pair] = (left @ vectors.T)[row, column]

        encoder = encoder_of(model, "passage")
        batches.encode(encoder, self.passages, passage_rows, self.settings.passage_length, device, store)
        return scores.cpu().numpy()

    def _vectors(self, model: nn.Module, store: TokenStore, rows: NDArray, length: int) -> Tensor:
        by_position: dict[int, Tensor] = {}

        def collect(group: NDArray[np.int64], vectors: Tensor) -> None:
            by_position.update(zip(group.tolist(), vectors, strict=True))

        batches.encode(model, store, rows, length, self.accelerator.device, collect)
        return torch.stack([by_position[position] for position in range(len(rows))])

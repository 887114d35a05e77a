"""Data of a training: the drawn examples, the texts that they name, and the teachers' scores of them.

# B = queries of the global batch, C = candidates of one query (positive first), N = B x C passages
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from led_pipeline.data.examples import Trainset, matrix
from led_pipeline.data.same_text import positives_elsewhere
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.step_settings import TrainingSettings
from led_pipeline.recipe.values import Teacher
from led_pipeline.training import losses
from led_pipeline.training.objectives_candidates import Masks, candidate_columns
from led_pipeline.training.teachers import StoredVectors


@dataclass(frozen=True)
class TrainingData:
    """A trainset with the token stores that its rows point into."""

    queries: TokenStore
    passages: TokenStore
    trainset: Trainset
    vectors: Mapping[str, StoredVectors] = field(default_factory=dict)
    """Vectors of the teachers that score all passages of a batch."""

    @classmethod
    def read(
        cls,
        trainset: Path,
        queries: Path,
        passages: Sequence[Path],
        settings: TrainingSettings,
        vectors: Mapping[str, StoredVectors] | None = None,
    ) -> "TrainingData":
        """Map the files of a training; the settings say how texts become sequences of tokens."""
        stores = [TokenStore.for_stage(shards, settings) for shards in ([queries], passages)]
        return cls(stores[0], stores[1], Trainset.read(trainset), vectors or {})

    def queries_of(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the query rows of some examples (B,)."""
        return self.trainset.query[rows]

    def passages_of(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the passage rows of some examples (B, C), positive first."""
        return matrix(self.trainset.passages, rows)

    def scores_of(self, teacher: str, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return a teacher's stored scores of the passages of some examples (B, C)."""
        return matrix(self.trainset.scores[teacher], rows)

    def have_tokens(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which queries and which passages of a batch have a token besides the special ones."""
        passages = self.passages.has_tokens(self.passages_of(rows).ravel())
        return self.queries.has_tokens(self.queries_of(rows)), passages

    def masks(self, rows: NDArray[np.integer], mask_positives: bool) -> Masks:
        """Return the passages of a batch that are no negatives of a query, the same on every process."""
        if not mask_positives:
            return Masks()
        texts, positives = self.trainset.texts, self.trainset.positives
        if texts is None or positives is None:
            column = "positives" if positives is None else "texts"
            raise InputError(
                f"trainset: no column '{column}', by which mask_positives knows the positives of a batch; draw it"
                " again, or set mask_positives: false"
            )
        masked = positives_elsewhere(matrix(texts, rows), positives.take(rows))
        return Masks(torch.from_numpy(masked) if masked.any() else None)


def stored_scores(teacher: Teacher, data: TrainingData, rows: NDArray[np.integer], masked: Tensor | None) -> Tensor:
    """Return a teacher's scores of each query's candidates, positive first."""
    systems = teacher.systems
    if teacher.candidates == "own":
        matrices = [data.scores_of(system, rows) for system in systems]
    else:
        passages = data.passages_of(rows)
        columns = candidate_columns(len(rows), passages.size, teacher.candidates).numpy()
        wide = [_of_the_batch(system, data, rows, passages) for system in systems]
        matrices = [np.take_along_axis(matrix, columns, axis=1) for matrix in wide]
    normalize = teacher.normalize or len(systems) > 1
    weights = teacher.weights or [1.0] * len(systems)
    parts = [*map(torch.from_numpy, matrices)]
    scores = losses.ensemble(parts, weights, normalize=normalize, scale=teacher.scale, masked=masked)
    count = len(data.trainset.passages[rows[0]])  # a query's own candidates come first
    scores[:, :count] += teacher.own_offset
    return scores


def name_of(teacher: Teacher) -> str:
    """Return the name of a teacher's term in the log."""
    suffix = {"own": [], "batch": ["batch"], "batch_negatives": ["batch", "negatives"]}[teacher.candidates]
    return "_".join([teacher.loss.rpartition(":")[2], *teacher.systems, *suffix])


def _of_the_batch(
    system: str, data: TrainingData, rows: NDArray[np.integer], passages: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return a teacher's scores of all passages of the batch (B, N), whose rows are groups (B, C).

    A teacher without vectors is the grades of the qrels; they are 0 for other queries' passages.
    """
    if system in data.vectors:
        return data.vectors[system].scores(data.queries_of(rows), passages.ravel())
    scores = np.zeros((len(rows), passages.size), dtype=np.float32)
    columns = candidate_columns(len(rows), passages.size, "own").numpy()
    np.put_along_axis(scores, columns, data.scores_of(system, rows), axis=1)
    return scores

"""Objectives: the loss of a global batch, from the trainset's rows to a sum of weighted terms.

Which terms, and with which weights, stands in a stage's settings; the terms themselves are in `losses`.

# B = queries of the global batch, C = candidates of one query (positive first), N = B x C passages, D = dimensions
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from led_pipeline import health, losses, ranker_losses
from led_pipeline.data.tables import Ragged, read_arrow
from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.models.backbone import to_texts
from led_pipeline.models.gather import gather_rows


@dataclass(frozen=True)
class TrainingData:
    """A trainset with the token stores that its rows point into."""

    queries: TokenStore
    passages: TokenStore
    columns: dict[str, Ragged | NDArray]
    examples: int  # of one epoch

    @classmethod
    def read(
        cls, trainset: Path, queries: Path, passages: list[Path], settings: dict[str, Any] | None = None
    ) -> "TrainingData":
        """Read what a trainset's rows name; the stage's settings say how texts are put together."""
        columns, metadata = read_arrow(trainset)
        stores = [TokenStore.for_stage(shards, settings or {"family": "dense"}) for shards in ([queries], passages)]
        return cls(*stores, columns, int(metadata["examples"]))

    def groups(self, name: str, rows: NDArray) -> NDArray:
        """Return a column of lists of equal length, for some rows, as a matrix (rows, C)."""
        return np.stack([self.columns[name][row] for row in rows])


def retriever_loss(
    model: nn.Module, data: TrainingData, rows: NDArray, own: slice, settings: dict[str, Any], device: torch.device
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a global batch for a dense or lexicon stage, and what to watch (`loop.StepLoss`).

    Args:
        rows: trainset rows of the global batch.
        own: which of them this process encodes; the other processes' vectors are gathered without gradient.
    """
    passages = data.groups("passages", rows[own])
    query_texts = data.queries.texts(data.columns["query"][rows[own]], settings["query_length"])
    passage_texts = data.passages.texts(passages.ravel(), settings["passage_length"])
    passes = 2 if settings.get("dual_weight") else 1
    batch = query_texts.followed_by(*[passage_texts] * passes)
    counts = [len(query_texts), *[len(passage_texts)] * passes]
    queries_BD, *passages_ND = map(gather_rows, model(to_texts(batch, device), counts))
    size, count = len(rows), passages.shape[1]
    positives = torch.arange(size, device=device) * count
    with torch.autocast(device.type, enabled=False):
        scores = [queries_BD @ vectors.T / settings.get("temperature", 1.0) for vectors in passages_ND]
        signs = health.score_signs(scores[0])
        if settings["family"] == "lexicon":
            signs |= health.lexicon_signs(queries_BD, passages_ND[0])
            scores = [s.clamp(max=1e4) for s in scores]
        terms = {"contrastive": torch.stack([losses.contrastive(s, positives) for s in scores]).mean()}
        loss = settings["contrastive_weight"] * terms["contrastive"]
        own_scores_BC = scores[0].view(size, size, count).diagonal().T
        loss = loss + _teachers(own_scores_BC, data, rows, settings, terms)
        if settings["family"] == "lexicon":
            for side, weights in (("passages", passages_ND[0]), ("queries", queries_BD)):
                terms[f"flops_{side}"] = losses.flops(weights)
                loss = loss + settings[f"flops_{side}"] * terms[f"flops_{side}"]
        if passes == 2:
            terms["dual"] = losses.dual(*scores)
            loss = loss + settings["dual_weight"] * terms["dual"]
    tokens = torch.tensor(len(batch.ids))
    return loss, {name: term.detach() for name, term in terms.items()} | signs | {"tokens": tokens}


def ranker_loss(
    model: nn.Module, data: TrainingData, rows: NDArray, own: slice, settings: dict[str, Any], device: torch.device
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a global batch for a ranker, over each query's own candidates, and what to watch."""
    passages = data.groups("passages", rows[own])
    queries = np.repeat(data.columns["query"][rows[own]], passages.shape[1])
    lengths = settings["query_length"], settings["passage_length"]
    batch = pairs(data.queries, queries, lengths[0], data.passages, passages.ravel(), lengths[1])
    scores_BC = gather_rows(model(to_texts(batch, device))).view(len(rows), -1)
    with torch.autocast(device.type, enabled=False):
        terms = {"contrastive": ranker_losses.ranking(scores_BC, settings)}
        loss = settings["contrastive_weight"] * terms["contrastive"] + _teachers(scores_BC, data, rows, settings, terms)
        signs = health.score_signs(scores_BC)
    tokens = torch.tensor(len(batch.ids))
    return loss, {name: term.detach() for name, term in terms.items()} | signs | {"tokens": tokens}


def _teachers(scores_BC: Tensor, data: TrainingData, rows: NDArray, settings: dict, terms: dict[str, Tensor]) -> Tensor:
    """Return the weighted sum of the teachers' objectives and add each to the terms."""
    loss = scores_BC.new_zeros(())
    for teacher in settings["teachers"]:
        stored = torch.from_numpy(data.groups(f"score_{teacher['stage']}", rows)).to(scores_BC.device)
        term = losses.distil(scores_BC, stored, teacher)
        terms[f"{teacher['loss']}_{teacher['stage']}"] = term
        loss = loss + teacher["weight"] * term
    return loss

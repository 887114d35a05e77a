"""Objectives: the loss of a global batch, from the trainset's rows to a sum of weighted terms.

Which terms, and with which weights, stands in a stage's settings; the terms themselves are in `losses`.

# B = queries of the global batch, C = candidates of one query (positive first), N = B x C passages, D = dimensions
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from led_pipeline import health, losses, own_code, ranker_losses
from led_pipeline.data.tables import Ragged, read_arrow
from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.files import InputError
from led_pipeline.models.backbone import to_texts
from led_pipeline.models.gather import gather_rows
from led_pipeline.teachers import StoredVectors


@dataclass(frozen=True)
class TrainingData:
    """A trainset with the token stores that its rows point into."""

    queries: TokenStore
    passages: TokenStore
    columns: dict[str, Ragged | NDArray]
    examples: int  # of one epoch
    vectors: dict[str, StoredVectors] = field(default_factory=dict)  # of teachers that score all passages of a batch

    @classmethod
    def read(
        cls,
        trainset: Path,
        queries: Path,
        passages: list[Path],
        settings: dict[str, Any] | None = None,
        vectors: dict[str, StoredVectors] | None = None,
    ) -> "TrainingData":
        """Read what a trainset's rows name; the stage's settings say how texts are put together."""
        columns, metadata = read_arrow(trainset)
        stores = [TokenStore.for_stage(shards, settings or {"family": "dense"}) for shards in ([queries], passages)]
        return cls(*stores, columns, int(metadata["examples"]), vectors or {})

    def groups(self, name: str, rows: NDArray) -> NDArray:
        """Return a column of lists of equal length, for some rows, as a matrix (rows, C)."""
        return np.stack([self.columns[name][row] for row in rows])


@dataclass(frozen=True)
class GlobalBatch:
    """What an extra loss of the user's gets: the whole batch, the same on every process, with gradient."""

    own_scores_BC: Tensor  # of each query's own candidates, positive first, divided by the temperature
    scores_BN: Tensor | None = None  # of all passages of the batch; None for a ranker, as are the vectors
    queries_BD: Tensor | None = None
    passages_ND: Tensor | None = None  # a query's own candidates stand together, positive first
    step: int = 0  # optimizer steps before this one


def retriever_loss(
    model: nn.Module,
    data: TrainingData,
    rows: NDArray,
    own: slice,
    settings: dict[str, Any],
    device: torch.device,
    step: int = 0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a global batch for a dense or lexicon stage, and what to watch (`loop.StepLoss`).

    Args:
        rows: trainset rows of the global batch.
        own: which of them this process encodes; the other processes' vectors are gathered without gradient.
        step: optimizer steps before this one, for what is warmed up.
    """
    passages = data.groups("passages", rows[own])
    query_texts = data.queries.texts(data.columns["query"][rows[own]], settings["query_length"])
    passage_texts = data.passages.texts(passages.ravel(), settings["passage_length"])
    passes = 2 if settings.get("dual_weight") else 1
    batch = query_texts.followed_by(*[passage_texts] * passes)
    counts = [len(query_texts), *[len(passage_texts)] * passes]
    queries_BD, *passages_ND = map(gather_rows, model(to_texts(batch, device), counts))
    with torch.autocast(device.type, enabled=False):
        scores = [queries_BD @ vectors.T / settings["temperature"] for vectors in passages_ND]
        signs = health.score_signs(scores[0])
        if settings["family"] == "lexicon":
            signs |= health.lexicon_signs(queries_BD, passages_ND[0])
            scores = [s.clamp(max=1e4) for s in scores]
        among = settings["contrastive_candidates"]
        terms = {"contrastive": torch.stack([contrastive(s, among) for s in scores]).mean()}
        loss = settings["contrastive_weight"] * terms["contrastive"]
        loss = loss + _teachers(scores[0], data, rows, settings, terms)
        if settings["family"] == "lexicon":
            loss = loss + _regularisers(queries_BD, passages_ND[0], settings, step, terms)
        if passes == 2:
            terms["dual"] = losses.dual(*(_among(s, among) for s in scores))
            loss = loss + settings["dual_weight"] * terms["dual"]
        if settings["extra_loss"]:
            everything = GlobalBatch(_among(scores[0], "own"), scores[0], queries_BD, passages_ND[0], step)
            loss = loss + _extra(everything, settings, terms)
    tokens = torch.tensor(len(batch.ids))
    return loss, {name: term.detach() for name, term in terms.items()} | signs | {"tokens": tokens}


def ranker_loss(
    model: nn.Module,
    data: TrainingData,
    rows: NDArray,
    own: slice,
    settings: dict[str, Any],
    device: torch.device,
    step: int = 0,
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
        if settings["extra_loss"]:
            loss = loss + _extra(GlobalBatch(scores_BC, step=step), settings, terms)
        signs = health.score_signs(scores_BC)
    tokens = torch.tensor(len(batch.ids))
    return loss, {name: term.detach() for name, term in terms.items()} | signs | {"tokens": tokens}


def candidate_columns(queries: int, passages: int, among: str, device: torch.device | None = None) -> Tensor:
    """Return which passages of the batch are candidates of each query, its positive first, then its own negatives.

    Args:
        queries: of the batch; each has `passages / queries` own candidates, its positive first, in the queries' order.
        among: `own`: these alone; `batch`: all passages; `batch_negatives`: all but other queries' positives.

    Made on the device, without waiting for it.
    """
    count = passages // queries
    first = torch.arange(queries, device=device).unsqueeze(1) * count
    columns = torch.arange(passages, device=device)
    if among == "own":
        return first + columns[:count]
    if among == "batch_negatives":
        columns = torch.cat([columns[:count], columns.view(queries, count)[1:, 1:].flatten()])
    return (first + columns) % passages


def _among(scores: Tensor, among: str) -> Tensor:
    """Return the scores of each query's candidates; a ranker's are those of its own ones already."""
    queries, passages = scores.shape
    return scores.gather(1, candidate_columns(queries, passages, among, scores.device))


def contrastive(scores_BN: Tensor, among: str) -> Tensor:
    queries, passages = scores_BN.shape
    if among == "batch":
        return losses.contrastive(scores_BN, torch.arange(0, passages, passages // queries, device=scores_BN.device))
    positives = torch.zeros(queries, dtype=torch.long, device=scores_BN.device)
    return losses.contrastive(_among(scores_BN, among), positives)


def _teachers(scores: Tensor, data: TrainingData, rows: NDArray, settings: dict, terms: dict[str, Tensor]) -> Tensor:
    """Return the weighted sum of the teachers' objectives and add each to the terms.

    Args:
        scores: of all passages of the batch (B, N), or a ranker's of each query's own candidates (B, C).
    """
    loss = scores.new_zeros(())
    for teacher in settings["teachers"]:
        own = own_code.load(teacher["loss"]) if own_code.is_reference(teacher["loss"]) else None
        stored = _stored(teacher, data, rows).to(scores.device)
        student = scores if settings["family"] == "ranker" else _among(scores, teacher["candidates"])
        term = losses.distil(student, stored, teacher, own)
        if own:
            _check(term, teacher["loss"])
        terms[_name(teacher)] = term
        loss = loss + teacher["weight"] * term
    return loss


def _name(teacher: dict[str, Any]) -> str:
    """Return what a teacher's term is called in the log."""
    among = {"own": [], "batch": ["batch"], "batch_negatives": ["batch", "negatives"]}[teacher["candidates"]]
    return "_".join([teacher["loss"].rpartition(":")[2], *_systems(teacher), *among])


def _systems(teacher: dict[str, Any]) -> list[str]:
    return teacher["stages"] or [teacher["stage"]]


def _stored(teacher: dict[str, Any], data: TrainingData, rows: NDArray) -> Tensor:
    """Return a teacher's scores of each query's candidates, positive first."""
    systems, among = _systems(teacher), teacher["candidates"]
    if among == "own":
        found = [data.groups(f"score_{system}", rows) for system in systems]
    else:
        passages = data.groups("passages", rows)
        columns = candidate_columns(len(rows), passages.size, among).numpy()
        scores = [_of_the_batch(system, data, rows, passages) for system in systems]
        found = [np.take_along_axis(matrix, columns, axis=1) for matrix in scores]
    normalize = teacher["normalize"] or len(systems) > 1
    weights = teacher["weights"] or [1.0] * len(systems)
    scores = losses.ensemble([*map(torch.from_numpy, found)], weights, normalize=normalize, scale=teacher["scale"])
    own = len(data.columns["passages"][rows[0]])  # a query's own candidates come first
    scores[:, :own] += teacher["own_offset"]
    return scores


def _of_the_batch(system: str, data: TrainingData, rows: NDArray, passages: NDArray) -> NDArray[np.float32]:
    """Return a teacher's scores of all passages of the batch, given as groups (B, C), as (B, N).

    Without vectors the teacher is the judgements' grades: those of other queries' passages are 0.
    """
    if system in data.vectors:
        return data.vectors[system].scores(data.columns["query"][rows], passages.ravel())
    scores = np.zeros((len(rows), passages.size), dtype=np.float32)
    own = candidate_columns(len(rows), passages.size, "own").numpy()
    np.put_along_axis(scores, own, data.groups(f"score_{system}", rows), axis=1)
    return scores


def _regularisers(
    queries_BV: Tensor, passages_NV: Tensor, settings: dict[str, Any], step: int, terms: dict[str, Tensor]
) -> Tensor:
    """Return the weighted sum of a lexicon stage's regularisers and add each to the terms, without its weight."""
    slots = len(passages_NV) // len(queries_BV) if settings["flops_grouped"] else 1
    terms["flops_passages"] = losses.flops(passages_NV, threshold=settings["flops_threshold"], slots=slots)
    terms["flops_queries"] = losses.flops(queries_BV)
    share = losses.quadratic_warmup(step, settings["regulariser_warmup"])
    loss = share * (
        settings["flops_passages"] * terms["flops_passages"] + settings["flops_queries"] * terms["flops_queries"]
    )
    for side, weights in (("passages", passages_NV), ("queries", queries_BV)):
        if weight := settings[f"l1_{side}"]:
            terms[f"l1_{side}"] = losses.l1(weights)
            loss = loss + share * weight * terms[f"l1_{side}"]
    if settings["anti_zero"]:
        terms["anti_zero"] = losses.anti_zero(queries_BV, passages_NV)
        loss = loss + settings["anti_zero"] * terms["anti_zero"]
    return loss


def _extra(batch: GlobalBatch, settings: dict[str, Any], terms: dict[str, Tensor]) -> Tensor:
    """Return the weighted loss from the user's file and add it to the terms."""
    reference = settings["extra_loss"]
    term = own_code.load(reference)(batch)
    _check(term, reference)
    terms[reference.rpartition(":")[2]] = term
    return settings["extra_loss_weight"] * term


def _check(term: object, reference: str) -> None:
    if not isinstance(term, Tensor) or term.ndim:
        given = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
        raise InputError(f"{reference}: a loss returns a tensor without dimensions, this one returned {given}")

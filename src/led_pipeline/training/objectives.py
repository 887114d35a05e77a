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

from led_pipeline import user_code
from led_pipeline.data.same_text import positives_elsewhere, told_apart
from led_pipeline.data.tables import Ragged, read_arrow
from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.files.errors import InputError
from led_pipeline.models.backbone import to_texts
from led_pipeline.models.gather import gather_rows
from led_pipeline.training import health, losses, ranker_losses
from led_pipeline.training.objectives_candidates import Masks, among, candidate_columns
from led_pipeline.training.teachers import StoredVectors


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

    def with_tokens(self, rows: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which queries and which passages of a batch have a token of their own."""
        passages = self.passages.has_tokens(self.groups("passages", rows).ravel())
        return self.queries.has_tokens(self.columns["query"][rows]), passages

    def masks(self, rows: NDArray, settings: dict[str, Any]) -> Masks:
        """Return which passages of a batch are left out as negatives of a query, the same on every process."""
        if not settings["mask_positives"]:
            return Masks()
        if missing := {"texts", "positives"} - self.columns.keys():
            raise InputError(
                f"trainset: no column '{min(missing)}', by which mask_positives knows the positives of a batch; draw it"
                " anew, or set mask_positives: false"
            )
        found = positives_elsewhere(self.groups("texts", rows), self.columns["positives"].take(rows))
        return Masks(torch.from_numpy(found) if found.any() else None)


@dataclass(frozen=True)
class GlobalBatch:
    """What an extra loss of the user's gets: the whole batch, the same on every process, with gradient."""

    own_scores_BC: Tensor  # of each query's own candidates, positive first, divided by the temperature
    scores_BN: Tensor | None = None  # of all passages of the batch; None for a ranker, as are the vectors
    queries_BD: Tensor | None = None
    passages_ND: Tensor | None = None  # a query's own candidates stand together, positive first
    step: int = 0  # optimizer steps before this one
    masked_BN: Tensor | None = None  # True at passages that are no negatives of a query; None: there are none


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
    groups = data.groups("passages", rows)
    passages = groups[own]
    query_texts = data.queries.texts(data.columns["query"][rows[own]], settings["query_length"])
    passage_texts = data.passages.texts(passages.ravel(), settings["passage_length"])
    passes = 2 if settings.get("dual_weight") else 1
    batch = query_texts.followed_by(*[passage_texts] * passes)
    counts = [len(query_texts), *[len(passage_texts)] * passes]
    queries_BD, *passages_ND = map(gather_rows, model(to_texts(batch, device), counts))
    with torch.autocast(device.type, enabled=False):
        scores = [queries_BD @ vectors.T / settings["temperature"] for vectors in passages_ND]
        of_queries, of_passages = data.with_tokens(rows)
        telling = of_queries & told_apart(data.passages, groups.reshape(1, -1), settings["passage_length"])
        signs = health.score_signs(scores[0], telling)
        if settings["family"] == "lexicon":
            signs |= health.lexicon_signs(queries_BD, passages_ND[0], (of_queries, of_passages))
            scores = [s.clamp(max=1e4) for s in scores]
        which, masks = settings["contrastive_candidates"], data.masks(rows, settings)
        terms = {"contrastive": torch.stack([contrastive(s, which, masks) for s in scores]).mean()}
        loss = settings["contrastive_weight"] * terms["contrastive"]
        loss = loss + _teachers(scores[0], data, rows, settings, terms, masks)
        if settings["family"] == "lexicon":
            loss = loss + _regularisers(queries_BD, passages_ND[0], settings, step, terms)
        if passes == 2:
            terms["dual"] = losses.dual(*(among(s, which) for s in scores), masks.among(which, device))
            loss = loss + settings["dual_weight"] * terms["dual"]
        if settings["extra_loss"]:
            vectors = queries_BD, passages_ND[0]
            masked = None if masks.masked_BN is None else masks.masked_BN.to(device)
            everything = GlobalBatch(among(scores[0], "own"), scores[0], *vectors, step, masked)
            loss = loss + _extra(everything, settings, terms)
        if settings["mask_positives"]:
            terms["masked"] = masks.count
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
    groups = data.groups("passages", rows)
    passages = groups[own]
    queries = np.repeat(data.columns["query"][rows[own]], passages.shape[1])
    lengths = settings["query_length"], settings["passage_length"]
    batch = pairs(data.queries, queries, lengths[0], data.passages, passages.ravel(), lengths[1])
    scores_BC = gather_rows(model(to_texts(batch, device))).view(len(rows), -1)
    with torch.autocast(device.type, enabled=False):
        terms = {"contrastive": ranker_losses.ranking(scores_BC, settings)}
        loss = settings["contrastive_weight"] * terms["contrastive"]
        loss = loss + _teachers(scores_BC, data, rows, settings, terms, Masks())
        if settings["extra_loss"]:
            loss = loss + _extra(GlobalBatch(scores_BC, step=step), settings, terms)
        signs = health.score_signs(scores_BC, told_apart(data.passages, groups, settings["passage_length"]))
    tokens = torch.tensor(len(batch.ids))
    return loss, {name: term.detach() for name, term in terms.items()} | signs | {"tokens": tokens}


def contrastive(scores_BN: Tensor, which: str, masks: Masks) -> Tensor:
    queries, passages = scores_BN.shape
    if which == "batch":
        positives = torch.arange(0, passages, passages // queries, device=scores_BN.device)
        masked = None if masks.masked_BN is None else masks.masked_BN.to(scores_BN.device)
        return losses.contrastive(scores_BN, positives, masked)
    positives = torch.zeros(queries, dtype=torch.long, device=scores_BN.device)
    return losses.contrastive(among(scores_BN, which), positives, masks.among(which, scores_BN.device))


def _teachers(
    scores: Tensor, data: TrainingData, rows: NDArray, settings: dict, terms: dict[str, Tensor], masks: Masks
) -> Tensor:
    """Return the weighted sum of the teachers' objectives and add each to the terms.

    Args:
        scores: of all passages of the batch (B, N), or a ranker's of each query's own candidates (B, C).
    """
    loss = scores.new_zeros(())
    for teacher in settings["teachers"]:
        own = user_code.load(teacher["loss"]) if user_code.is_reference(teacher["loss"]) else None
        masked = masks.among(teacher["candidates"])
        stored = _stored(teacher, data, rows, masked).to(scores.device)
        student = scores if settings["family"] == "ranker" else among(scores, teacher["candidates"])
        masked = None if masked is None else masked.to(scores.device)
        term = losses.distil(student, stored, teacher, own, masked)
        if own:
            _check(term, teacher["loss"])
        terms[_name(teacher)] = term
        loss = loss + teacher["weight"] * term
    return loss


def _name(teacher: dict[str, Any]) -> str:
    """Return what a teacher's term is called in the log."""
    which = {"own": [], "batch": ["batch"], "batch_negatives": ["batch", "negatives"]}[teacher["candidates"]]
    return "_".join([teacher["loss"].rpartition(":")[2], *_systems(teacher), *which])


def _systems(teacher: dict[str, Any]) -> list[str]:
    return teacher["stages"] or [teacher["stage"]]


def _stored(teacher: dict[str, Any], data: TrainingData, rows: NDArray, masked: Tensor | None) -> Tensor:
    """Return a teacher's scores of each query's candidates, positive first."""
    systems, which = _systems(teacher), teacher["candidates"]
    if which == "own":
        found = [data.groups(f"score_{system}", rows) for system in systems]
    else:
        passages = data.groups("passages", rows)
        columns = candidate_columns(len(rows), passages.size, which).numpy()
        scores = [_of_the_batch(system, data, rows, passages) for system in systems]
        found = [np.take_along_axis(matrix, columns, axis=1) for matrix in scores]
    normalize = teacher["normalize"] or len(systems) > 1
    weights = teacher["weights"] or [1.0] * len(systems)
    parts = [*map(torch.from_numpy, found)]
    scores = losses.ensemble(parts, weights, normalize=normalize, scale=teacher["scale"], masked=masked)
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
    term = user_code.load(reference)(batch)
    _check(term, reference)
    terms[reference.rpartition(":")[2]] = term
    return settings["extra_loss_weight"] * term


def _check(term: object, reference: str) -> None:
    if not isinstance(term, Tensor) or term.ndim:
        given = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
        raise InputError(f"{reference}: a loss returns a tensor without dimensions, this one returned {given}")

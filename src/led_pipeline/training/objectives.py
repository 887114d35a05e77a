"""Objectives: which terms a stage's loss has, and their weighted sum over a global batch.

The settings name the terms and their weights; `losses` and `ranker_losses` compute them from scores.

# B = queries of the global batch, C = candidates of one query (positive first), N = B x C passages, D = dimensions
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from led_pipeline import user_code
from led_pipeline.data.same_text import told_apart
from led_pipeline.data.tokens import pairs
from led_pipeline.files.errors import InputError
from led_pipeline.models.backbone import to_device, to_packed_batch
from led_pipeline.models.gather import gather_rows
from led_pipeline.recipe.settings import DenseObjective, LexiconObjective
from led_pipeline.recipe.step_settings import RankerTraining, RetrieverTraining, TrainingSettings
from led_pipeline.recipe.values import Teacher
from led_pipeline.training import health, losses, matryoshka, ranker_losses, regularisers
from led_pipeline.training.objectives_candidates import Masks, among
from led_pipeline.training.step_loss import StepLoss
from led_pipeline.training.training_data import TrainingData, name_of, stored_scores

# A teacher, its scores of each query's candidates, and which of these are no negatives of the query.
TeacherScores = tuple[Teacher, Tensor, Tensor | None]


@dataclass(frozen=True)
class GlobalBatch:
    """What an extra loss of the user's gets: the whole batch, the same on every process, with gradient."""

    own_scores_BC: Tensor
    """Scores of each query's own candidates, positive first, divided by the temperature."""
    scores_BN: Tensor | None = None
    """Scores of all passages of the batch; a ranker has neither these nor vectors."""
    queries_BD: Tensor | None = None
    """Vectors of the queries."""
    passages_ND: Tensor | None = None
    """Vectors of the passages, grouped by query, positive first."""
    step: int = 0
    """Optimizer steps before this one."""
    masked_BN: Tensor | None = None
    """True at passages that are no negatives of a query; None if there are none."""


def retriever_loss(
    model: nn.Module,
    data: TrainingData,
    rows: NDArray[np.integer],
    local: slice,
    settings: RetrieverTraining,
    device: torch.device,
    step: int = 0,
) -> StepLoss:
    """Return the loss of a global batch for a dense or lexicon stage.

    Args:
        rows: trainset rows of the global batch.
        local: the part of them that this process encodes; it gathers the other vectors without gradient.
        step: optimizer steps before this one, for weights that are warmed up.
    """
    groups = data.passages_of(rows)
    local_groups = groups[local]
    query_texts = data.queries.texts(data.queries_of(rows[local]), settings.query_length)
    passage_texts = data.passages.texts(local_groups.ravel(), settings.passage_length)
    passes = 2 if isinstance(settings, DenseObjective) and settings.dual_weight else 1
    batch = query_texts.followed_by(*[passage_texts] * passes)
    counts = [len(query_texts), *[len(passage_texts)] * passes]
    queries_BD, *passages_ND = map(gather_rows, model(to_packed_batch(batch, device), counts))
    with torch.autocast(device.type, enabled=False):
        scores_BN = queries_BD @ passages_ND[0].T / settings.temperature
        of_queries, of_passages = data.have_tokens(rows)
        telling = of_queries & told_apart(data.passages, groups.reshape(1, -1), settings.passage_length)
        signs = health.score_signs(scores_BN, telling)
        if isinstance(settings, LexiconObjective):
            signs |= health.lexicon_signs(queries_BD, passages_ND[0], (of_queries, of_passages))
        loss = StepLoss(scores_BN.new_zeros(()), signs=signs, tokens=len(batch.ids))
        masks = data.masks(rows, settings.mask_positives)
        teachers = teacher_scores(data, rows, settings, masks)
        sizes = matryoshka.sizes(settings, queries_BD.shape[1])
        for size in sizes:
            vectors = [matryoshka.prefix(v, size, settings) for v in (queries_BD, *passages_ND)]
            terms = _retriever_terms(vectors, settings, masks, teachers, step)
            loss.add_part(terms, 1 / len(sizes), f"_{size}" if size else "")
        if settings.mask_positives:
            loss.note("masked", masks.count)
    return loss


def _retriever_terms(
    vectors: Sequence[Tensor],
    settings: RetrieverTraining,
    masks: Masks,
    teachers: Sequence[TeacherScores],
    step: int,
) -> StepLoss:
    """Return all terms of a dense or lexicon stage.

    Args:
        vectors: of the queries (B, D), then of the passages (N, D), once or, for `dual`, of two passes.
    """
    queries_BD, *passages_ND = vectors
    scores = [queries_BD @ passages.T / settings.temperature for passages in passages_ND]
    if isinstance(settings, LexiconObjective):
        scores = [s.clamp(max=1e4) for s in scores]
    loss, device = StepLoss(scores[0].new_zeros(())), scores[0].device
    candidates = settings.contrastive_candidates
    term = torch.stack([contrastive(s, candidates, masks, settings.label_smoothing) for s in scores]).mean()
    loss.add("contrastive", term, settings.contrastive_weight)
    _add_teachers(loss, scores[0], settings, teachers)
    if isinstance(settings, LexiconObjective):
        _add_regularisers(loss, queries_BD, passages_ND[0], settings, step)
    if len(scores) == 2 and isinstance(settings, DenseObjective):
        first, second = (among(s, candidates) for s in scores)
        loss.add("dual", losses.dual(first, second, masks.among(candidates, device)), settings.dual_weight)
    if settings.extra_loss:
        masked = None if masks.masked_BN is None else to_device(masks.masked_BN, device)
        own_scores_BC = among(scores[0], "own")
        everything = GlobalBatch(own_scores_BC, scores[0], queries_BD, passages_ND[0], step, masked)
        _add_extra(loss, everything, settings.extra_loss, settings.extra_loss_weight)
    return loss


def ranker_loss(
    model: nn.Module,
    data: TrainingData,
    rows: NDArray[np.integer],
    local: slice,
    settings: RankerTraining,
    device: torch.device,
    step: int = 0,
) -> StepLoss:
    """Return the loss of a global batch for a ranker, over each query's own candidates; arguments as above."""
    groups = data.passages_of(rows)
    local_groups = groups[local]
    queries = np.repeat(data.queries_of(rows[local]), local_groups.shape[1])
    lengths = settings.query_length, settings.passage_length
    batch = pairs(data.queries, queries, lengths[0], data.passages, local_groups.ravel(), lengths[1])
    scores_BC = gather_rows(model(to_packed_batch(batch, device))).view(len(rows), -1)
    with torch.autocast(device.type, enabled=False):
        signs = health.score_signs(scores_BC, told_apart(data.passages, groups, settings.passage_length))
        loss = StepLoss(scores_BC.new_zeros(()), signs=signs, tokens=len(batch.ids))
        loss.add("contrastive", ranker_losses.ranking(scores_BC, settings), settings.contrastive_weight)
        _add_teachers(loss, scores_BC, settings, teacher_scores(data, rows, settings, Masks()))
        if settings.extra_loss:
            _add_extra(loss, GlobalBatch(scores_BC, step=step), settings.extra_loss, settings.extra_loss_weight)
    return loss


def contrastive(scores_BN: Tensor, candidates: str, masks: Masks, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of each query's positive among its candidates (`candidate_columns`)."""
    queries, passages = scores_BN.shape
    if candidates == "batch":
        positives = torch.arange(0, passages, passages // queries, device=scores_BN.device)
        masked = None if masks.masked_BN is None else to_device(masks.masked_BN, scores_BN.device)
        return losses.contrastive(scores_BN, positives, masked, smoothing)
    positives = torch.zeros(queries, dtype=torch.long, device=scores_BN.device)
    mask = masks.among(candidates, scores_BN.device)
    return losses.contrastive(among(scores_BN, candidates), positives, mask, smoothing)


def teacher_scores(
    data: TrainingData, rows: NDArray[np.integer], settings: TrainingSettings, masks: Masks
) -> list[TeacherScores]:
    """Return each teacher with its scores of the candidates of a batch, and the mask of these candidates."""
    masked = [masks.among(teacher.candidates) for teacher in settings.teachers]
    return [(t, stored_scores(t, data, rows, mask), mask) for t, mask in zip(settings.teachers, masked, strict=True)]


def _add_teachers(
    loss: StepLoss, scores: Tensor, settings: TrainingSettings, teachers: Sequence[TeacherScores]
) -> None:
    """Add every teacher's term.

    Args:
        scores: of all passages of the batch (B, N), or a ranker's of each query's own candidates (B, C).
    """
    for teacher, stored, masked in teachers:
        user_loss = user_code.load(teacher.loss) if user_code.is_reference(teacher.loss) else None
        student = scores if isinstance(settings, RankerTraining) else among(scores, teacher.candidates)
        mask = None if masked is None else to_device(masked, scores.device)
        term = losses.distil(student, to_device(stored, scores.device), teacher, user_loss, mask)
        if user_loss:
            _check(term, teacher.loss)
        loss.add(name_of(teacher), term, teacher.weight)


def _add_regularisers(
    loss: StepLoss, queries_BV: Tensor, passages_NV: Tensor, settings: LexiconObjective, step: int
) -> None:
    """Add the terms that keep a lexicon stage's vectors sparse, and from being empty."""
    slots = len(passages_NV) // len(queries_BV) if settings.flops_grouped else 1
    share = regularisers.quadratic_warmup(step, settings.regulariser_warmup)
    flops_passages = regularisers.flops(passages_NV, threshold=settings.flops_threshold, slots=slots)
    loss.add("flops_passages", flops_passages, settings.flops_passages, share)
    loss.add("flops_queries", regularisers.flops(queries_BV), settings.flops_queries, share)
    if settings.l1_passages:
        loss.add("l1_passages", regularisers.l1(passages_NV), share * settings.l1_passages)
    if settings.l1_queries:
        loss.add("l1_queries", regularisers.l1(queries_BV), share * settings.l1_queries)
    if settings.anti_zero:
        loss.add("anti_zero", regularisers.anti_zero(queries_BV, passages_NV), settings.anti_zero)


def _add_extra(loss: StepLoss, batch: GlobalBatch, reference: str, weight: float) -> None:
    """Add the loss of the user's file."""
    term = user_code.load(reference)(batch)
    _check(term, reference)
    loss.add(reference.rpartition(":")[2], term, weight)


def _check(term: object, reference: str) -> None:
    if not isinstance(term, Tensor) or term.ndim:
        got = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
        raise InputError(f"{reference}: a loss returns a tensor without dimensions, this one returned {got}")

"""The loss at several sizes of the vectors: against losses of cut vectors, and against sentence-transformers."""

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer.losses import (
    DistillKLDivLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import pairwise_cos_sim
from torch import nn

from led_pipeline.files.errors import InputError
from led_pipeline.recipe.step_settings import TRAINING, validated_family
from led_pipeline.training import objectives
from led_pipeline.training.modules import trainable
from led_pipeline.training.teachers import StoredVectors
from led_pipeline.training.training_data import TrainingData

CPU = torch.device("cpu")
ROWS = np.array([3, 0, 7, 12])
B, C, D = 4, 4, 12
EXTRA = """
def spread(batch):
    assert batch.scores_BN.shape == (4, 16)
    return batch.own_scores_BC.std() + batch.queries_BD.abs().sum() + batch.passages_ND.shape[1]
"""
KL = tiny.TEACHER | {"stage": "lex", "loss": "kl", "weight": 1.5, "temperature": 2.0}
BATCH_TEACHER = tiny.TEACHER | {"stage": "den", "loss": "rank", "candidates": "batch"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matryoshka")
    tiny.save_dataset(folder)
    (folder / "own.py").write_text(EXTRA)
    return folder


@pytest.fixture(scope="module")
def data(folder):
    vectors = {name: StoredVectors.read(*files) for name, files in tiny.save_vectors(folder).items()}
    stores = folder / "queries.arrow", [folder / "passages.arrow"]
    return TrainingData.read(folder / "trainset.arrow", *stores, tiny.settings("dense"), vectors)


def outputs(size: int = D, normalize: bool = False) -> list[torch.Tensor]:
    """Return the vectors of the queries and of two passes over the passages, cut to a size."""
    random = torch.Generator().manual_seed(9)
    whole = [torch.randn(count, D, generator=random) for count in (B, B * C, B * C)]
    whole = [F.normalize(vectors, dim=1) if normalize else vectors for vectors in whole]
    return [F.normalize(vectors[:, :size], dim=1) if normalize else vectors[:, :size] for vectors in whole]


def loss_of(data, vectors, **changes):
    settings = tiny.settings("dense", **changes)
    vectors = vectors if settings.dual_weight else vectors[:2]
    return objectives.retriever_loss(lambda *_: vectors, data, ROWS, slice(0, B), settings, CPU, 5)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({}, ["contrastive"]),
        ({"contrastive_candidates": "batch_negatives", "temperature": 0.1}, ["contrastive"]),
        ({"teachers": [KL], "contrastive_weight": 0.5}, ["contrastive", "kl_lex"]),
        ({"teachers": [BATCH_TEACHER]}, ["contrastive", "rank_den_batch"]),
        ({"dual_weight": 2.0, "mask_positives": True}, ["contrastive", "dual"]),
        ({"extra_loss": "{folder}/own.py:spread", "extra_loss_weight": 0.1}, ["contrastive", "spread"]),
    ],
)
def test_the_loss_is_the_mean_over_the_sizes_with_every_term_at_each(folder, data, changes, terms, normalize):
    changes = {key: value.format(folder=folder) if key == "extra_loss" else value for key, value in changes.items()}
    changes |= {"normalize": normalize}
    got = loss_of(data, outputs(normalize=normalize), matryoshka=[3, 8], **changes)
    alone = {size: loss_of(data, outputs(size, normalize), **changes) for size in (D, 3, 8)}
    assert got.total.item() == pytest.approx(sum(each.total.item() for each in alone.values()) / 3, rel=1e-6)
    for size, suffix in ((D, ""), (3, "_3"), (8, "_8")):
        for term in terms:
            assert got.terms[term + suffix].item() == pytest.approx(alone[size].terms[term].item(), rel=1e-5)
    assert {name for name in got.terms if name != "masked"} == {t + end for t in terms for end in ("", "_3", "_8")}
    assert len({round(each.total.item(), 6) for each in alone.values()}) == 3
    assert got.signs.keys() == alone[D].signs.keys() and all(got.signs[k] == v for k, v in alone[D].signs.items())


class Peer(nn.Module):
    """What sentence-transformers' losses need of a model; its texts are their vectors."""

    def forward(self, features):
        return {"sentence_embedding": features["vectors"]}

    def get_embedding_dimension(self):
        return D


@pytest.mark.parametrize("teacher", [False, True])
def test_sentence_transformers_has_the_same_loss_and_gradient(data, teacher):
    """Their loss is the sum over the sizes, ours the mean."""
    leaves = [[v.clone().requires_grad_() for v in outputs()[:2]] for _ in range(2)]  # before the normalisation
    ours, (queries, passages) = ([F.normalize(v, dim=1) for v in side] for side in leaves)
    columns = [queries, *passages.view(B, C, D).unbind(1)]
    changes = {"teachers": [KL], "contrastive_weight": 0} if teacher else {"temperature": 0.05}
    loss = loss_of(data, ours, matryoshka=[3, 8], normalize=True, **changes).total
    peer = Peer()
    if teacher:  # of each query's own candidates, by their cosine
        inner = DistillKLDivLoss(peer, similarity_fct=pairwise_cos_sim, temperature=2.0)
        labels = torch.from_numpy(data.scores_of("lex", ROWS))
    else:
        inner = MultipleNegativesRankingLoss(peer, scale=20.0)
        labels = None
    reference = MatryoshkaLoss(peer, inner, [3, 8, D])([{"vectors": v} for v in columns], labels) / 3
    reference = 1.5 * reference if teacher else reference
    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    loss.backward()
    reference.backward()
    for mine, other in zip(*leaves, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_a_gradient_cache_gives_the_same_gradients_at_every_size(folder, data):
    gradients = []
    for chunk in (None, 3):
        settings = tiny.settings("dense", matryoshka=[4, 8], normalize=True, teachers=[KL], gradient_cache=chunk)
        encoder = tiny.start(folder / "dense", settings)
        loss = objectives.retriever_loss(trainable(encoder, settings), data, ROWS, slice(0, 4), settings, CPU).total
        loss.backward()
        gradients.append([loss, *(p.grad for p in encoder.parameters() if p.grad is not None)])
    for cached, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(cached, whole, rtol=1e-4, atol=1e-6)


def test_sizes_that_are_no_prefix_of_the_vectors_are_refused(data):
    with pytest.raises(InputError, match="matryoshka: 12 is no part of a vector with 12 dimensions"):
        loss_of(data, outputs(), matryoshka=[3, 12])
    for sizes in ([8, 3], [3, 3], [0, 3]):
        with pytest.raises(InputError, match="matryoshka"):
            validated_family(TRAINING, {"family": "dense", "seed": 1, "matryoshka": sizes}, "--settings")
    with pytest.raises(InputError, match="matryoshka"):
        validated_family(TRAINING, {"family": "lexicon", "seed": 1, "matryoshka": [3]}, "--settings")

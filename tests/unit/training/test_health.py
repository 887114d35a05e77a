import math

import numpy as np
import pytest
import torch
from torch import nn

from led_pipeline.training import health

HEALTHY = {"loss": 1.5, "contrastive": 1.5, "largest_score": 12.0, "score_spread": 3.0}
LEXICON = HEALTHY | {"empty_queries": 0.0, "empty_passages": 0.01, "terms_per_query": 20.0, "terms_per_passage": 90.0}


def test_the_signs_of_scores_are_their_largest_size_and_their_mean_range():
    signs = health.score_signs(torch.tensor([[1.0, -8.0, 3.0], [2.0, 2.0, 1.0]]))
    assert {name: value.item() for name, value in signs.items()} == {"largest_score": 8.0, "score_spread": 6.0}


def test_the_signs_of_a_lexicon_stage_count_empty_texts_and_terms():
    queries, passages = torch.zeros(2, 5), torch.zeros(4, 5)
    queries[:, 1] = 0.5
    passages[0, :4] = 0.1
    signs = {name: value.item() for name, value in health.lexicon_signs(queries, passages).items()}
    assert signs == {"empty_queries": 0, "terms_per_query": 1, "empty_passages": 0.75, "terms_per_passage": 1}


def test_signs_carry_no_gradient_and_are_all_known():
    scores, weights = torch.ones(2, 3, requires_grad=True), torch.ones(2, 5, requires_grad=True)
    signs = health.score_signs(scores) | health.lexicon_signs(weights, weights)
    assert set(signs) == set(health.SIGNS)
    assert not any(value.requires_grad for value in signs.values())


@pytest.mark.parametrize("values", [HEALTHY, LEXICON, {"loss": 0.0}])
def test_a_healthy_training_gets_no_warning(values):
    assert health.fault(values) is None
    assert not list(health.warnings(values))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            HEALTHY | {"loss": math.nan, "contrastive": math.nan},
            "the loss is nan (not finite: loss, contrastive)",
        ),
        (HEALTHY | {"loss": math.inf}, "the loss is inf (not finite: loss); lower learning_rate"),
        (
            LEXICON | {"empty_passages": 1.0},
            "100% of the passages have no term left, so no gradient",
        ),
        (
            LEXICON | {"empty_queries": 0.995},
            "lower flops_queries, l1_queries or learning_rate, and see",
        ),
        (LEXICON | {"empty_queries": 1.0, "loss": math.inf, "anti_zero": math.inf}, "100% of the queries have no term"),
        (
            HEALTHY | {"largest_score": 3e6},
            "scores have exploded, the largest is 3e+06; lower",
        ),
        (HEALTHY | {"largest_score": math.inf}, "scores have exploded, the largest is inf"),
        (
            HEALTHY | {"score_spread": 0.0},
            "all candidates of a query score the same (12): the model tells",
        ),
        (
            HEALTHY | {"score_spread": 1e-5},
            "lower learning_rate, raise warmup_fraction",
        ),
    ],
)
def test_a_training_that_cannot_recover_stops_with_advice(values, reason):
    assert reason in health.fault(values)


@pytest.mark.parametrize(
    ("values", "sign", "sentence"),
    [
        (
            LEXICON | {"empty_passages": 0.3},
            "empty_passages",
            "30% of the passages have no term left",
        ),
        (LEXICON | {"largest_score": 2e4}, "largest_score", "the largest score is 2e+04; if it grows further, lower"),
        (HEALTHY | {"score_spread": 5e-3}, "score_spread", "score nearly the same (spread 0.005)"),
    ],
)
def test_a_drifting_training_gets_a_warning(values, sign, sentence):
    assert health.fault(values) is None
    ((name, text),) = health.warnings(values)
    assert name == sign and sentence in text


def test_identical_candidates_and_texts_without_tokens_do_not_count_as_signs():
    scores, tells = torch.tensor([[1.0, 1.0], [2.0, 5.0]]), np.array([False, True])
    assert health.score_signs(scores, tells)["score_spread"].item() == 3.0, "of the second query alone"
    assert set(health.score_signs(scores, np.array([False, False]))) == {"largest_score"}
    weights = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    signs = health.lexicon_signs(weights, weights, (np.array([False, True]), np.array([True, True])))
    assert (signs["empty_queries"].item(), signs["empty_passages"].item()) == (0.0, 0.5)
    neither = health.lexicon_signs(weights, weights, (np.array([False, False]), np.array([False, False])))
    assert set(neither) == {"terms_per_query", "terms_per_passage"}


DEAD = [LEXICON | {"empty_queries": 1.0}, HEALTHY | {"score_spread": 0.0}]


@pytest.mark.parametrize("values", DEAD)
@pytest.mark.parametrize(("batch_size", "steps"), [(1, 16), (6, 3), (16, 1), (500, 1)])
def test_one_odd_query_does_not_stop_a_training_but_many_in_a_row_do(values, batch_size, steps):
    doubt = health.Doubt(batch_size)
    for _ in range(steps - 1):
        assert doubt.fault(values) is None
    if steps > 1:
        assert doubt.fault(HEALTHY) is None, "a healthy step takes the doubt back"
        assert all(doubt.fault(values) is None for _ in range(steps - 1))
    assert doubt.fault(values) == health.fault(values)


@pytest.mark.parametrize(
    "values", [HEALTHY | {"loss": math.nan}, HEALTHY | {"largest_score": 3e6}, DEAD[0] | {"loss": math.inf}]
)
def test_a_certain_fault_stops_a_training_at_once(values):
    assert health.Doubt(1).fault(values)


def test_a_too_strong_regulariser_is_detected_by_its_empty_vectors():
    """Train a head of 30 terms with only the FLOPS regulariser and a pull downwards."""
    head = nn.Linear(4, 30)
    texts = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    reasons = []
    for _ in range(400):
        weights = head(texts).relu().log1p()
        values = {name: value.item() for name, value in health.lexicon_signs(weights, weights).items()}
        reasons.append(health.fault({"loss": 1.0} | values))
        (weights.mean(dim=0).square().sum() + 0.1 * head.bias.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert reasons[0] is None and "have no term left" in reasons[-1]

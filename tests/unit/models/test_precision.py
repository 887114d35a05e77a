"""A ranker's head computes in float32 even if the rest computes in half precision."""

import pytest
import tiny
import torch
from transformers import (
    BertForSequenceClassification,
    DistilBertForSequenceClassification,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from led_pipeline.models.ranker import Ranker
from led_pipeline.models.true_false import Question, TrueFalseRanker

T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 57, "pad_token_id": 0}
KINDS = {
    "bert": BertForSequenceClassification,
    "distilbert": DistilBertForSequenceClassification,
    "roberta": RobertaForSequenceClassification,
}


def ranker(name: str) -> torch.nn.Module:
    if name == "t5":
        model = T5ForConditionalGeneration(T5Config(**T5, eos_token_id=1, decoder_start_token_id=0))
        return TrueFalseRanker(tiny.fill(model), Question([7], [8], [9, 1], 10, 11)).eval()
    config = tiny.lexicon_backbone(name).config
    config.num_labels = 1
    return Ranker(tiny.fill(KINDS[name](config))).eval()


@pytest.mark.parametrize("name", [*KINDS, "t5"])
def test_400_pairs_have_400_scores_under_autocast(name):
    """With a head in bf16 there were a few dozen different scores, and the rest were ties."""
    ids, mask = tiny.batch([12] * 400)
    texts, model = tiny.unpadded(ids, mask, (mask.cumsum(dim=1) > 5).long()), ranker(name)
    with torch.no_grad():
        exact = model(texts)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = model(texts)
    assert scores.dtype == torch.float32 and len(scores.unique()) > 390
    torch.testing.assert_close(scores, exact, rtol=0.1, atol=0.1)

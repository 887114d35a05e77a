"""Masked language models in training: logits at some tokens of a packed batch, their stop words, and their folders.

The product with the output embeddings is computed at the tokens that are asked for alone; a head's transform before it
runs at all tokens, less than a hundredth of the work of BERT's layers.

# N = tokens of all texts, R = tokens with logits, V = vocabulary entries, H = hidden size
"""

import json
from pathlib import Path

import numpy as np
import torch.nn.functional as F
import yaml
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from led_pipeline.data.masking import Vocabulary
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_text
from led_pipeline.models import complete
from led_pipeline.models.backbone import PackedBatch, at_least_float32, hidden_states, use_attention_within_texts
from led_pipeline.models.card import FILE, base_of
from led_pipeline.models.encoder import Encoder
from led_pipeline.models.idf import document_frequencies
from led_pipeline.models.saved_model import ORIGIN
from led_pipeline.models.weights import read_weights
from led_pipeline.pretrained.tokenizer import load_tokenizer
from led_pipeline.recipe.step_settings import MaskedLmTraining

SAMPLE = 100_000  # passages, evenly spaced, in which frequent tokens are counted


class MaskedLm(Encoder):
    """A masked language model of transformers that returns the logits of some tokens."""

    def __init__(self, backbone: PreTrainedModel):
        super().__init__()
        self.backbone = backbone
        backbone.get_output_embeddings().forward = lambda hidden: hidden  # the module stays, for its weights
        use_attention_within_texts(backbone)

    def forward(self, texts: PackedBatch, places_R: Tensor) -> Tensor:
        """Return the logits (R, V) at some places among the tokens of `texts`, in float32."""
        hidden_NH, head = hidden_states(self.backbone, texts), self.backbone.get_output_embeddings()
        return at_least_float32(F.linear(hidden_NH.index_select(0, places_R), head.weight, head.bias))


def vocabulary_of(tokenizer: str, passages: TokenStore, settings: MaskedLmTraining) -> Vocabulary:
    """Return a tokenizer's ids, with the stop words of a stage.

    Raises:
        InputError: the tokenizer has no [MASK], no [CLS] or no [SEP]; or the file of stop words cannot be read.
    """
    words = load_tokenizer(tokenizer)
    if words.mask_token_id is None or not passages.bracketed:
        names = {"mask": words.mask_token_id, "cls": words.cls_token_id, "sep": words.sep_token_id}
        missing = " and no ".join(name for name, number in names.items() if number is None)
        raise InputError(
            f"tokenizer '{tokenizer}': it has no {missing} token; masked_lm stages mask tokens and read [CLS] text"
            " [SEP], so name a masked language model like BERT, with its tokenizer"
        )
    special, size = list(words.all_special_ids), passages.vocabulary
    stop = np.zeros(size, dtype=bool)
    if settings.bow_weight:
        rows = np.unique(np.linspace(0, len(passages) - 1, min(SAMPLE, len(passages))).astype(np.int64))
        stop = document_frequencies(passages, size, rows) > settings.stop_share * len(rows)
        stop[_pieces_in(words, settings.stop_words)] = True
    stop[special] = True
    return Vocabulary(size, words.mask_token_id, special, stop)


def _pieces_in(words: PreTrainedTokenizerBase, file: str | None) -> list[int]:
    """Return the ids of all pieces of the words in a file, one a line."""
    lines = read_text(Path(file), "a text file of stop words (stop_words), one a line").splitlines() if file else []
    return [i for line in lines if line.strip() for i in words(line.strip(), add_special_tokens=False)["input_ids"]]


def start(source: str, settings: MaskedLmTraining) -> MaskedLm:
    """Return the masked language model that a stage starts from, in float32: a folder or a hub id.

    Raises:
        InputError: it cannot be found, has no masked-LM head, or its weights are incomplete or not finite.
    """
    backbone = read_weights(source, settings)
    try:
        complete.check_finite(backbone)
    except InputError as error:
        raise InputError(f"model '{source}': {error}") from error
    return MaskedLm(backbone)


def save(model: MaskedLm, tokenizer: str, out: Path) -> None:
    """Write a masked language model, its tokenizer, where its weights came from and a model card."""
    origin = complete.origin_of(model.backbone)
    model.backbone.save_pretrained(out)
    load_tokenizer(tokenizer).save_pretrained(out)
    (out / ORIGIN).write_text(json.dumps(origin.as_json(), indent=2) + "\n", encoding="utf-8")
    header = {"library_name": "transformers", "pipeline_tag": "fill-mask", "tags": ["led-pipeline"]}
    head = yaml.safe_dump(header | base_of(origin.source), sort_keys=False, allow_unicode=True)
    text = (
        "A masked language model, pre-trained on a collection with led_pipeline, for retrievers to start from."
        " settings.json says how.\n"
    )
    (out / FILE).write_text(f"---\n{head}---\n\n{text}", encoding="utf-8")

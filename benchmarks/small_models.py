"""Create small random models of every type with their tokenizers, and batches of texts, for compare_models.

The models and tokenizers are those of the tests (`tests/tiny.py`), saved in folders that the pipeline and the other
libraries can read.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import processors
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    CamembertConfig,
    CamembertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2Model,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
    T5Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import tiny

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.recipe.representation import Side
from led_pipeline.recipe.step_settings import ImportSettings, ModelSettings, TrainingSettings

HIDDEN, LENGTH = 16, 24  # longer texts are truncated to LENGTH tokens
WORDS = ["Query:", "Document:", "Relevant:", "true", "false"]
CPU = torch.device("cpu")
IDS = {"pad_token_id": 0, "eos_token_id": 1}
T5 = {"d_model": HIDDEN, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0} | IDS
GPT2 = {"n_embd": HIDDEN, "n_layer": 2, "n_head": 2, "n_positions": 64} | IDS
DISTILBERT = {"dim": HIDDEN, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "dropout": 0.0}
DISTILBERT |= {"vocab_size": len(tiny.VOCABULARY), "max_position_embeddings": 64}
ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra")  # with [CLS] and [SEP]
ENCODERS += ("modernbert", "nomic_bert", "eurobert")
BARE = ("t5", "gpt2", "llama")  # texts that end with an end-of-sequence token
BARE += ("mistral", "qwen2", "qwen3", "modernbert-decoder")
MASKED = {"bert-mlm": "bert", "untied-mlm": "bert with untied output embeddings"}
MASKED |= {"distilbert-mlm": "distilbert", "roberta-mlm": "roberta"}


def _make(name: str, vocabulary: int) -> nn.Module:
    """Return one of the models, in float32 and with random weights."""
    if name in MASKED:
        return tiny.lexicon_backbone(MASKED[name])
    if name in tiny.ROTARY:
        return tiny.rotary(name, vocabulary)
    makers = {
        "bert": lambda: tiny.backbone("dense"),
        "other-bert": lambda: tiny.backbone("dense", seed=5),
        # Positions start after the padding id, which is 1 in the published models.
        "roberta": lambda: RobertaModel(RobertaConfig(**tiny.BERT, pad_token_id=1)),
        "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**tiny.BERT, pad_token_id=1)),
        "camembert": lambda: CamembertModel(CamembertConfig(**tiny.BERT, pad_token_id=1)),
        "distilbert": lambda: tiny.lexicon_backbone("distilbert").distilbert,
        "electra": lambda: ElectraModel(ElectraConfig(**tiny.BERT, embedding_size=8)),
        "t5": lambda: T5Model(T5Config(**T5, vocab_size=vocabulary, decoder_start_token_id=0)),
        "gpt2": lambda: GPT2Model(GPT2Config(**GPT2, vocab_size=vocabulary)),
        "bert-ranker": lambda: BertForSequenceClassification(BertConfig(**tiny.BERT, num_labels=1)),
        "distilbert-ranker": lambda: DistilBertForSequenceClassification(DistilBertConfig(**DISTILBERT, num_labels=1)),
        "roberta-ranker": lambda: RobertaForSequenceClassification(
            RobertaConfig(**tiny.BERT, num_labels=1, pad_token_id=0, type_vocab_size=1)
        ),
        "t5-ranker": lambda: T5ForConditionalGeneration(
            T5Config(**T5, vocab_size=vocabulary, decoder_start_token_id=0)
        ),
    }
    return tiny.fill(makers[name](), seed=5 if name == "other-bert" else 0)


@cache
def _root() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="compared-")


def root() -> Path:
    """Return a folder that exists as long as this process."""
    return Path(_root().name)


@cache
def folder(name: str) -> Path:
    """Return the folder of a model with its tokenizer."""
    where = root() / name
    if not {name, name.partition("-")[0]} & {*BARE}:
        tokenizer = tiny.save_tokenizer(where)
        # Two separators between the texts of a pair, as in the published tokenizers.
        if name.startswith(("roberta", "xlm-roberta", "camembert")):
            cls, sep = ((token, tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]"))
            pairs_apart = processors.RobertaProcessing(sep, cls, trim_offsets=False, add_prefix_space=False)
            tokenizer.backend_tokenizer.post_processor = pairs_apart
            tokenizer.save_pretrained(where)
        if name.startswith(("bert", "electra")):  # as the tokenizers published with them
            config = where / "tokenizer_config.json"
            names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
            config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | names), encoding="utf-8")
    else:
        tokenizer = tiny.save_bare_tokenizer(where, WORDS)
        end = (tokenizer.eos_token, tokenizer.eos_token_id)
        ending = processors.TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
        tokenizer.backend_tokenizer.post_processor = ending  # for the other libraries; ours uses append_eos
        tokenizer.save_pretrained(where)
    _make(name, len(tokenizer)).eval().save_pretrained(where)
    return where


def tokens(name: str, *texts: list[str]) -> dict[str, Tensor]:
    """Tokenise texts or pairs, padded and truncated."""
    length = LENGTH * len(texts)
    return AutoTokenizer.from_pretrained(folder(name))(
        *texts, padding=True, truncation=True, max_length=length, return_tensors="pt"
    )


def settings(name: str, trained: bool = False, **changes: Any) -> ImportSettings | TrainingSettings:
    """Return the settings of a stage that imports this model or trains it; texts are truncated to LENGTH."""
    kind = name.partition("-")[2]
    family = {"mlm": "lexicon", "ranker": "ranker"}.get(kind, "dense")
    extra = {"append_eos": True} if name in BARE else {}
    make = tiny.settings if trained else tiny.import_settings
    return make(family, **{"query_length": LENGTH, "passage_length": LENGTH} | extra | changes)


@cache
def _loaded(name: str, query_init: str | None, changes: tuple) -> nn.Module:
    return tiny.start(folder(name), settings(name, **dict(changes)), query_init=query_init).eval()


def load(name: str, query_init: str | None = None, **changes: Any) -> nn.Module:
    """Return our module around a model for a stage with these settings."""
    return _loaded(name, query_init, tuple(changes.items()))


@dataclass(frozen=True)
class Case:
    """A batch of queries, of 1 to 8 tokens, and passages, of 1 to 40."""

    seed: int
    count: int = 7

    @cached_property
    def queries(self) -> list[str]:
        return tiny.texts(self.count, 8, seed=10 * self.seed)

    @cached_property
    def passages(self) -> list[str]:
        return tiny.texts(self.count, 40, seed=10 * self.seed + 1)

    @property
    def texts(self) -> list[str]:
        """Queries and passages, alternating."""
        return [text for pair in zip(self.queries, self.passages, strict=True) for text in pair]

    def store(self, name: str, texts: list[str], chosen: ModelSettings) -> TokenStore:
        """Return texts in the format of a stage."""
        path = root() / f"{name}-{self.seed}-{hash(tuple(texts))}.arrow"
        if not path.is_file():
            tiny.save_store(path, folder(name), {"text": texts})
        return TokenStore.for_stage([path], chosen)

    @torch.no_grad()
    def vectors(self, name: str, side: Side = "passage", query_init: str | None = None, **changes: Any) -> Tensor:
        """Return our vectors of the texts, encoded as one side."""
        chosen = settings(name, **changes)
        store = with_prefix(self.store(name, self.texts, chosen), side, folder(name), chosen)
        batch = store.texts(np.arange(len(self.texts)), LENGTH)
        return encoder_of(load(name, query_init, **changes), side)(to_packed_batch(batch, CPU))

    @torch.no_grad()
    def scores(self, name: str, **changes: Any) -> Tensor:
        """Return our scores of every query with its passage."""
        chosen = settings(name, **changes)
        stores = (self.store(name, texts, chosen) for texts in (self.queries, self.short))
        rows = np.arange(self.count)
        queries, passages = stores
        return load(name, **changes)(to_packed_batch(pairs(queries, rows, LENGTH, passages, rows, LENGTH), CPU))

    @property
    def short(self) -> list[str]:
        """The passages, short enough not to be truncated, which the libraries do differently for pairs."""
        return [" ".join(passage.split()[: LENGTH - 2]) for passage in self.passages]


CASES = [*map(Case, range(4))]

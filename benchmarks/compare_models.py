"""Compare what models make of texts with transformers, sentence-transformers and peft, from the same strings on.

Run as `python benchmarks/compare_models.py --out docs/measurements/compared-models.md`: the table of what was compared
and the largest difference. `tests/unit/models/test_compared_models.py` runs the same comparisons.
"""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import compare_lexicon_models
import peft
import sentence_transformers
import torch
import transformers
from comparison import Comparison, table, write
from safetensors.torch import save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from small_models import BARE, CASES, ENCODERS, HIDDEN, LENGTH, Case, folder, root, settings, tokens
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from led_pipeline.models import saved_model

POOLINGS = {"cls": "cls", "mean": "mean", "last": "lasttoken"}
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": None}
HEAD = 6  # dimensions of a linear head
QUESTION = {"template": "Query: {query} Document: {passage} Relevant:", "true_word": "true", "false_word": "false"}


# --- dense


@cache
def dense(name: str, pooling: str, *more: nn.Module) -> SentenceTransformer:
    parts = [Transformer(str(folder(name)), max_seq_length=LENGTH), Pooling(HIDDEN, POOLINGS[pooling]), *more]
    return SentenceTransformer(modules=parts, device="cpu").eval()


def encoded(case: Case, name: str, pooling: str, *more: nn.Module, **options: Any) -> Tensor:
    return dense(name, pooling, *more).encode(case.texts, convert_to_tensor=True, **options)


@cache
def projection() -> Dense:
    """Return their module with random weights, which become those of our head, too."""
    weight = torch.randn(HEAD, HIDDEN, generator=torch.Generator().manual_seed(1))
    save_file({"weight": weight}, folder("roberta") / saved_model.HEAD)
    return Dense(HIDDEN, HEAD, bias=False, activation_function=nn.Identity(), init_weight=weight)


@torch.no_grad()
def first_decoder_token(case: Case) -> Tensor:
    model, inputs = AutoModel.from_pretrained(folder("t5")).eval(), tokens("t5", case.texts)
    start = torch.zeros(len(case.texts), 1, dtype=torch.long)
    return model(**inputs, decoder_input_ids=start).last_hidden_state[:, 0]


def poolings(name: str) -> list[str]:
    """Return the poolings that a model can have: texts of T5 and decoders have no first token that stands for them."""
    return [pooling for pooling in POOLINGS if name not in BARE or pooling != "cls"]


def dense_models() -> Iterator[Comparison]:
    for name in (*ENCODERS, *BARE):
        for pooling in poolings(name):
            ours = partial(lambda case, name, pooling: case.vectors(name, pooling=pooling), name=name, pooling=pooling)
            theirs = partial(encoded, name=name, pooling=pooling)
            yield Comparison(f"{name}, {pooling}", "SentenceTransformer", ours, theirs)
    yield Comparison(
        "t5, first_decoder_token",
        "transformers' T5Model",
        lambda case: case.vectors("t5", encoder_decoder="first_decoder_token"),
        first_decoder_token,
    )
    normalize = Normalize()
    yield Comparison(
        "bert, mean, normalize",
        "SentenceTransformer with Normalize",
        lambda case: case.vectors("bert", pooling="mean", normalize=True),
        lambda case: encoded(case, "bert", "mean", normalize),
    )
    yield Comparison(
        f"roberta, cls, head of {HEAD} dimensions",
        "SentenceTransformer with Dense",
        lambda case: projection() and case.vectors("roberta", head=HEAD),
        lambda case: encoded(case, "roberta", "cls", projection()),
    )
    yield Comparison(
        f"roberta, cls, head of {HEAD} dimensions, normalize",
        "SentenceTransformer with Dense and Normalize",
        lambda case: projection() and case.vectors("roberta", head=HEAD, normalize=True),
        lambda case: encoded(case, "roberta", "cls", projection(), normalize),
    )
    untied = {"untied": True, "query_init": str(folder("other-bert"))}
    for which, name in (("query", "other-bert"), ("passage", "bert")):
        ours = partial(lambda case, which: case.vectors("bert", which, **untied), which=which)
        theirs = partial(encoded, name=name, pooling="cls")
        yield Comparison(f"untied, the {which} encoder", "SentenceTransformer", ours, theirs)
    yield Comparison(
        "query_prefix, word pieces",
        "SentenceTransformer with a prompt",
        lambda case: case.vectors("bert", "query", query_prefix="q u: "),
        lambda case: encoded(case, "bert", "cls", prompt="q u: "),
    )


# --- adapters


@cache
def exported() -> Path:
    """Return the folder that a stage with stirred adapters exports."""
    out = root() / "merged"
    out.mkdir()
    chosen = settings("bert", trained=True, lora=LORA)
    model = saved_model.start(str(folder("bert")), chosen, folder("bert"))
    stir(model)
    saved_model.save(model, chosen, folder("bert"), out)
    return out


@torch.no_grad()
def stir(model: nn.Module) -> None:
    """Give adapters weights as a training would, the same for the same order of layers."""
    random = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))


@cache
def pefts() -> nn.Module:
    model = AutoModel.from_pretrained(folder("bert"))
    model = peft.get_peft_model(model, peft.LoraConfig(r=LORA["rank"], lora_alpha=LORA["alpha"], lora_dropout=0.0))
    stir(model)
    return model.eval()


@torch.no_grad()
def merged(case: Case) -> Tensor:
    model = AutoModel.from_pretrained(exported()).eval()
    return model(**tokens("bert", case.texts)).last_hidden_state[:, 0]


@torch.no_grad()
def unmerged(case: Case) -> Tensor:
    return pefts()(**tokens("bert", case.texts)).last_hidden_state[:, 0]


def adapters() -> Iterator[Comparison]:
    yield Comparison("bert, lora, as exported", "peft's model, not merged", merged, unmerged)


# --- rankers


@torch.no_grad()
def classified(case: Case, name: str) -> Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder(name)).eval()
    inputs = tokens(name, case.queries, case.short)
    if getattr(model.config, "type_vocab_size", 0) < 2:
        inputs.pop("token_type_ids", None)
    return model(**inputs).logits[:, 0]


def predicted(case: Case, name: str) -> Tensor:
    model = CrossEncoder(str(folder(name)), device="cpu", activation_fn=nn.Identity(), max_length=2 * LENGTH)
    return model.predict([*zip(case.queries, case.short, strict=True)], convert_to_tensor=True)


@torch.no_grad()
def asked(case: Case) -> Tensor:
    """Return log p(true) - log p(false) of the written-out questions, by transformers alone."""
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder("t5-ranker")).eval(), folder("t5-ranker")
    texts = [QUESTION["template"].format(query=q, passage=p) for q, p in zip(case.queries, case.short, strict=True)]
    tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    start = torch.zeros(len(texts), 1, dtype=torch.long)
    logits = model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], decoder_input_ids=start
    ).logits[:, 0]
    true, false = (logits.log_softmax(dim=1)[:, tokenizer.convert_tokens_to_ids(w)] for w in ("true", "false"))
    return true - false


def rankers() -> Iterator[Comparison]:
    for name in ("bert-ranker", "distilbert-ranker", "roberta-ranker"):
        term, ours = f"{name.partition('-')[0]} classifier", partial(lambda case, name: case.scores(name), name=name)
        yield Comparison(term, "transformers' AutoModelForSequenceClassification", ours, partial(classified, name=name))
        yield Comparison(term, "CrossEncoder.predict", ours, partial(predicted, name=name))
    yield Comparison(
        "t5, true_false",
        "transformers' T5ForConditionalGeneration, the question written out",
        lambda case: case.scores("t5-ranker", scoring="true_false", **QUESTION),
        asked,
    )


def comparisons() -> list[Comparison]:
    """Return everything that is compared."""
    return [*dense_models(), *adapters(), *compare_lexicon_models.comparisons(), *rankers()]


HEAD_OF_PAGE = f"""# What the models were compared with

`python benchmarks/compare_models.py --out docs/measurements/compared-models.md` writes this page. Small models with
random weights ({HIDDEN} dimensions, two layers) encoded {len(CASES)} batches of {CASES[0].count} queries with
{CASES[0].count} passages. Texts have 1 to 40 tokens and are cut to {LENGTH}. Both sides start from the strings: our
side uses the token store and computes without padding, the other library uses its own tokenisation, truncation and
padding. The libraries are transformers {transformers.__version__}, sentence-transformers
{sentence_transformers.__version__} and peft {peft.__version__}. The table shows the largest difference of any entry,
relative to the largest entry where that is above
1. Everything is computed in float32 on a CPU. [compared.md](compared.md) compares the losses.

"""
FOOT = """
- Where special tokens do not count, we leave out the first and the last token, as LED does; SPLADE's encoders in
  sentence-transformers count them. `[UNK]` counts in their static embedding and has weight 0 here.
- T5, GPT-2 and Llama read texts with their end token (`append_eos`); the other library's tokenizer was set to add it.
- Pairs were short enough not to be cut, because query and passage are cut separately here and together there. RoBERTa
  has two separators between them.
"""


def page() -> str:
    """Return the page with one row per comparison."""
    return HEAD_OF_PAGE + table(comparisons(), CASES, "model") + FOOT


if __name__ == "__main__":
    write(page, __doc__.splitlines()[0])

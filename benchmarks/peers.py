"""Peers: encoding and a training step against sentence-transformers, in turns in one run.

Run as `python benchmarks/peers.py` (about two minutes on two cores). Both sides have the same weights (random), texts,
batches, loss, optimizer and precision (float32); lengths are like MS MARCO's. Tokenising is left out. `--precision`
compares our encoding in bf16 with that in float32 instead.
On a machine that others use too, `--threads 1` and the ratio of processor time are what to look at.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import sentence_transformers
import torch
import workload
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import AttentionInterface, PreTrainedTokenizerFast

from led_pipeline.data.tokens import TokenStore
from led_pipeline.inference.encode import dense_rows, sparse_rows
from led_pipeline.models.backbone import ATTENTION, attend, to_packed_batch
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.training import losses

CPU = torch.device("cpu")


def save_tokenizer(folder: Path) -> None:
    """Write a tokenizer of words w0, w1, ... whose numbers are those of a synthetic store."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, workload.VOCABULARY))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", workload.SEP), ("[CLS]", workload.CLS))
    names = {f"{token.strip('[]').lower()}_token": token for token in words[:5]}
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)


def words_of(store: TokenStore, rows: np.ndarray) -> list[str]:
    """Return texts that the tokenizer reads as the given rows."""
    return [" ".join(f"w{i}" for i in store.texts([row], 512).ids[1:-1]) for row in rows]


def compare_encoding(
    encoder: DenseEncoder, peer: SentenceTransformer, store: TokenStore, a: argparse.Namespace
) -> None:
    rows = np.arange(a.texts)
    texts = words_of(store, rows)
    order = np.argsort(-store.lengths(rows, 128), kind="stable")
    size = 32  # sentence-transformers' default
    features = [peer.preprocess([texts[i] for i in order[s : s + size]]) for s in range(0, len(order), size)]

    @torch.inference_mode()
    def forward() -> np.ndarray:
        return torch.cat([peer(dict(batch))["sentence_embedding"] for batch in features]).numpy()

    ours = dense_rows(encoder, store, rows, 128, CPU)
    np.testing.assert_allclose(ours[order], forward(), atol=1e-2)
    seconds = workload.in_turns(lambda: dense_rows(encoder, store, rows, 128, CPU), forward, a.rounds)
    report("encode", "texts/s", len(rows), seconds)


def compare_precision(store: TokenStore, a: argparse.Namespace) -> None:
    """Encode in bf16 and in float32, both here."""
    workload.head(["encode", "bf16", "float32", "times faster", "less processor time"])
    lexicon = LexiconEncoder(workload.masked_language_model(a.layers, a.hidden)).eval()
    with torch.no_grad():
        lexicon.backbone.get_output_embeddings().bias.fill_(-4)  # random weights: a few hundred terms per text
    dense = DenseEncoder(workload.bert(a.layers, a.hidden)).eval()
    for what, encode, encoder in (("dense", dense_rows, dense), ("lexicon", sparse_rows, lexicon)):
        rows = np.arange(a.texts)
        sides = [partial(encode, encoder, store, rows, 128, CPU, precision) for precision in ("bf16", "float32")]
        report(what, "texts/s", len(rows), workload.in_turns(*sides, a.rounds))


def compare_step(encoder: DenseEncoder, peer: SentenceTransformer, a: argparse.Namespace, negatives: int) -> None:
    data = workload.training_data(a.folder, a.queries, 4_000, 1 + negatives)
    passages = np.concatenate([data.trainset.passages[i] for i in range(a.queries)])
    sides = [(data.queries, np.arange(a.queries), 32), (data.passages, passages, 128)]
    batches = [store.texts(rows, length) for store, rows, length in sides]
    features = [peer.preprocess(words_of(store, rows)) for store, rows, _ in sides]
    positives = torch.arange(a.queries) * (1 + negatives)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, vectors) -> None:
        queries, passages = vectors()
        losses.contrastive(queries @ passages.T, positives).backward()
        optimizer.step()
        optimizer.zero_grad()

    def ours() -> tuple[torch.Tensor, ...]:
        return encoder(to_packed_batch(batches[0].followed_by(batches[1]), CPU)).split([len(b) for b in batches])

    def theirs() -> list[torch.Tensor]:
        return [peer(dict(batch))["sentence_embedding"] for batch in features]

    for mine, other in zip(ours(), theirs(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
    models = [(m, torch.optim.AdamW(m.parameters(), lr=0.0, fused=True)) for m in (encoder.train(), peer.train())]
    seconds = workload.in_turns(lambda: step(*models[0], ours), lambda: step(*models[1], theirs), a.rounds)
    encoder.eval(), peer.eval()
    tokens = sum(len(batch.ids) for batch in batches)
    padded = sum(len(batch) * batch.lengths.max() for batch in batches)
    report(f"training step, {a.queries} x {1 + negatives}: {tokens:,} tokens, {padded:,} padded", "steps/s", 1, seconds)


def report(what: str, unit: str, amount: int, seconds: tuple[workload.Seconds, workload.Seconds]) -> None:
    rates = (f"{amount / float(np.median([wall for wall, _ in side])):.3g} {unit}" for side in seconds)
    workload.row([what, *rates, workload.ratio(seconds, 0), workload.ratio(seconds, 1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--texts", type=int, default=1_000)
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--negatives", type=int, nargs="+", default=[7])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="our backbone through torch.compile")
    parser.add_argument("--precision", action="store_true", help="our encoding in bf16 against float32, nothing else")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    print(f"{workload.machine()}, sentence-transformers {sentence_transformers.__version__}")
    precision = "" if a.precision else ", float32"
    print(f"BERT of {a.layers} layers of {a.hidden}{precision}; {a.rounds} rounds in turns; ratio: median (range)\n")
    with tempfile.TemporaryDirectory() as folder:
        a.folder = Path(folder)
        workload.bert(a.layers, a.hidden).save_pretrained(a.folder / "peer")
        save_tokenizer(a.folder / "peer")
        transformer = Transformer(str(a.folder / "peer"), max_seq_length=128)
        peer = SentenceTransformer(modules=[transformer, Pooling(a.hidden, "cls")], device="cpu").eval()
        backbone = workload.bert(a.layers, a.hidden)
        encoder = DenseEncoder(backbone).eval()
        if a.compile:  # all but attention, which goes by the lengths of a batch
            AttentionInterface.register(ATTENTION, torch.compiler.disable(attend))
            backbone.compile(dynamic=True)
        store = workload.store(a.folder / "p.arrow", a.texts, workload.PASSAGE_TOKENS, 128, seed=5)
        if a.precision:
            compare_precision(store, a)
            return
        workload.head(["what", "led_pipeline", "sentence-transformers", "times faster", "less processor time"])
        compare_encoding(encoder, peer, store, a)
        for negatives in a.negatives:
            compare_step(encoder, peer, a, negatives)


if __name__ == "__main__":
    main()

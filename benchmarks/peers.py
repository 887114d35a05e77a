"""Compare the speed of encoding and of a training step with sentence-transformers, alternating in one run.

Run as `python benchmarks/peers.py` (about two minutes on two cores). Both sides have the same weights (random), texts,
batches, loss and optimizer; lengths are like MS MARCO's. Tokenisation is not measured. On a processor both compute in
float32. On a GPU, which is used where there is one, both train in bf16 under autocast; sentence-transformers encodes
with weights in bf16. It gets FlashAttention and inputs without padding, if flash_attn or kernels is installed: the head
of the table says so.
`--precision` compares our encoding in bf16 with that in float32 instead.
On a shared machine, use `--threads 1` and look at the ratio of processor time.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
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


class Sides:
    """Both models, with the same weights, on one device.

    Args:
        folder: for sentence-transformers' model.
    """

    def __init__(self, folder: Path, layers: int, hidden: int, device: torch.device):
        self.device, self.gpu = device, device.type == "cuda"
        self.attention = "sdpa"
        workload.bert(layers, hidden).save_pretrained(folder)
        save_tokenizer(folder)
        self.folder, self.hidden = folder, hidden
        self.encoder = DenseEncoder(workload.bert(layers, hidden)).to(device).eval()
        self.peer = self.peer_model(torch.float32)

    def peer_model(self, dtype: torch.dtype) -> SentenceTransformer:
        """Return sentence-transformers' model, on a GPU with FlashAttention and without padding where that works."""
        ways = ["flash_attention_2", "sdpa"] if self.gpu else ["sdpa"]
        for attention in ways:
            try:
                options = {"attn_implementation": attention, "dtype": dtype}
                transformer = Transformer(str(self.folder), max_seq_length=128, model_kwargs=options)
            except (ImportError, ValueError):
                if attention == ways[-1]:
                    raise
                continue
            self.attention = attention
            modules = [transformer, Pooling(self.hidden, "cls")]
            return SentenceTransformer(modules=modules, device=str(self.device)).eval()
        raise AssertionError

    @property
    def conditions(self) -> str:
        if not self.gpu:
            return "float32"
        padding = (
            "without padding" if self.attention == "flash_attention_2" else "padded: install flash_attn or kernels"
        )
        return f"bf16, sentence-transformers with {self.attention}, {padding}"

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.gpu)

    def finished(self, run: Callable[[], object]) -> Callable[[], object]:
        """Return a function that runs another one and waits for the device."""

        def wait() -> object:
            result = run()
            if self.gpu:
                torch.cuda.synchronize()
            return result

        return wait

    def features(self, texts: list[str]) -> dict[str, object]:
        """Return sentence-transformers' input of some texts, on the device."""
        batch = self.peer.preprocess(texts)
        return {name: v.to(self.device) if isinstance(v, torch.Tensor) else v for name, v in batch.items()}


def check_same(ours: torch.Tensor, peers: torch.Tensor, exact: bool) -> None:
    """Check that both sides compute the same vectors."""
    if exact:
        torch.testing.assert_close(ours, peers, rtol=1e-4, atol=1e-2)
    else:
        assert nn.functional.cosine_similarity(ours.float(), peers.float()).min() > 0.98


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


def compare_encoding(sides: Sides, store: TokenStore, count: int, rounds: int) -> None:
    rows = np.arange(count)
    texts = words_of(store, rows)
    order = np.argsort(-store.lengths(rows, 128), kind="stable")
    size = 512 if sides.gpu else 32  # 32 is sentence-transformers' default, too small for a GPU
    peer = sides.peer_model(torch.bfloat16) if sides.gpu else sides.peer
    features = [sides.features([texts[i] for i in order[s : s + size]]) for s in range(0, len(order), size)]

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        return torch.cat([peer(dict(batch))["sentence_embedding"] for batch in features]).float().cpu()

    def ours() -> np.ndarray:
        return dense_rows(sides.encoder, store, rows, 128, sides.device)

    check_same(torch.from_numpy(ours()[order]).float(), forward(), not sides.gpu)
    seconds = workload.in_turns(sides.finished(ours), sides.finished(forward), rounds)
    report("encode", "texts/s", len(rows), seconds)


def compare_precision(store: TokenStore, count: int, layers: int, hidden: int, rounds: int) -> None:
    """Compare our encoding in bf16 with that in float32."""
    workload.head(["encode", "bf16", "float32", "times faster", "less processor time"])
    lexicon = LexiconEncoder(workload.masked_language_model(layers, hidden)).eval()
    with torch.no_grad():
        lexicon.backbone.get_output_embeddings().bias.fill_(-4)  # random weights: a few hundred terms per text
    dense = DenseEncoder(workload.bert(layers, hidden)).eval()
    for label, encode, encoder in (("dense", dense_rows, dense), ("lexicon", sparse_rows, lexicon)):
        rows = np.arange(count)
        sides = [partial(encode, encoder, store, rows, 128, CPU, precision) for precision in ("bf16", "float32")]
        report(label, "texts/s", len(rows), workload.in_turns(*sides, rounds))


def compare_step(sides: Sides, folder: Path, count: int, negatives: int, rounds: int) -> None:
    """Compare a training step with `count` queries."""
    encoder, peer = sides.encoder, sides.peer
    data = workload.training_data(folder, count, 4_000, 1 + negatives)
    passages = np.concatenate([data.trainset.passages[i] for i in range(count)])
    texts = [(data.queries, np.arange(count), 32), (data.passages, passages, 128)]
    batches = [store.texts(rows, length) for store, rows, length in texts]
    features = [sides.features(words_of(store, rows)) for store, rows, _ in texts]
    positives = torch.arange(count, device=sides.device) * (1 + negatives)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, vectors: Callable[[], Sequence[torch.Tensor]]) -> None:
        with sides.autocast():
            queries, passages = vectors()
        losses.contrastive(queries.float() @ passages.float().T, positives).backward()
        optimizer.step()
        optimizer.zero_grad()

    def ours() -> tuple[torch.Tensor, ...]:
        packed = to_packed_batch(batches[0].followed_by(batches[1]), sides.device)
        return encoder(packed).split([len(b) for b in batches])

    def peer_vectors() -> list[torch.Tensor]:
        return [peer(dict(batch))["sentence_embedding"] for batch in features]

    with sides.autocast(), torch.no_grad():
        for mine, other in zip(ours(), peer_vectors(), strict=True):
            check_same(mine, other, not sides.gpu)
    models = [(m, torch.optim.AdamW(m.parameters(), lr=0.0, fused=True)) for m in (encoder.train(), peer.train())]
    runs = [partial(step, *models[0], ours), partial(step, *models[1], peer_vectors)]
    seconds = workload.in_turns(*map(sides.finished, runs), rounds)
    encoder.eval(), peer.eval()
    tokens = sum(len(batch.ids) for batch in batches)
    padded = sum(len(batch) * batch.lengths.max() for batch in batches)
    report(f"training step, {count} x {1 + negatives}: {tokens:,} tokens, {padded:,} padded", "steps/s", 1, seconds)


def cells(unit: str, amount: int, seconds: tuple[workload.Seconds, workload.Seconds]) -> list[str]:
    """Return the rates of both sides and the ratios of their clocks."""
    rates = [f"{amount / float(np.median([wall for wall, _ in side])):.3g} {unit}" for side in seconds]
    return [*rates, workload.ratio(seconds, 0), workload.ratio(seconds, 1)]


def report(label: str, unit: str, amount: int, seconds: tuple[workload.Seconds, workload.Seconds]) -> None:
    workload.row([label, *cells(unit, amount, seconds)])


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
    parser.add_argument("--cpu", action="store_true", help="on the processor, also where there is a GPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    print(f"{workload.machine()}, sentence-transformers {sentence_transformers.__version__}")
    device = torch.device("cpu" if a.cpu or not torch.cuda.is_available() else "cuda")
    with tempfile.TemporaryDirectory() as folder:
        store = workload.store(Path(folder, "p.arrow"), a.texts, workload.PASSAGE_TOKENS, 128, seed=5)
        text = f"BERT of {a.layers} layers of {a.hidden}; {a.rounds} rounds in turns; ratio: median (range)"
        if a.precision:
            print(f"{text}\n")
            compare_precision(store, a.texts, a.layers, a.hidden, a.rounds)
            return
        sides = Sides(Path(folder, "peer"), a.layers, a.hidden, device)
        print(f"{text}; {sides.conditions}\n")
        if a.compile:  # all but attention, which goes by the lengths of a batch
            AttentionInterface.register(ATTENTION, torch.compiler.disable(attend))
            sides.encoder.backbone.compile(dynamic=True)
        workload.head(["what", "led_pipeline", "sentence-transformers", "times faster", "less processor time"])
        compare_encoding(sides, store, a.texts, a.rounds)
        for negatives in a.negatives:
            compare_step(sides, Path(folder), a.queries, negatives, a.rounds)


if __name__ == "__main__":
    main()

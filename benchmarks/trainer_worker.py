"""Run training steps of a peer from its own checkout, one per line of input; started by `trainers.py`.

The answer to each line has the step's seconds of wall time and of processor time. No code of the peers is copied.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, PretrainedConfig


def configs(layers: int, hidden: int) -> tuple[PretrainedConfig, PretrainedConfig]:
    """Return the shapes of a student (BERT) and of a lexicon teacher (DistilBERT)."""
    heads = max(1, hidden // 64)
    student = BertConfig(
        vocab_size=30_522,
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_attention_heads=heads,
    )
    teacher = DistilBertConfig(vocab_size=30_522, n_layers=layers, dim=hidden, hidden_dim=4 * hidden, n_heads=heads)
    return student, teacher


def tevatron_loss(
    checkout: Path, batch: dict[str, torch.Tensor], layers: int, hidden: int
) -> tuple[torch.nn.Module, Callable]:
    sys.path.insert(0, str(checkout / "src"))
    from tevatron.retriever.modeling import DenseModel

    torch.manual_seed(0)
    model = DenseModel(BertModel(configs(layers, hidden)[0]), pooling="cls")
    sides = {
        side: {"input_ids": batch[f"{side}_ids"], "attention_mask": batch[f"{side}_mask"]}
        for side in ("query", "passage")
    }
    return model, lambda: model(**sides).loss


def led_loss(
    checkout: Path, batch: dict[str, torch.Tensor], layers: int, hidden: int, distil: bool
) -> tuple[torch.nn.Module, Callable]:
    replace_removed_names()
    sys.path.insert(0, str(checkout))
    from proj_dense.train_dense_retriever import DenseLearner
    from proj_dense.train_LED_retriever import DenseLearnerWithSpladeDistil
    from proj_sparse.modeling_splade_series import DistilBertSpladeEnocder

    student, teacher = configs(layers, hidden)
    teacher.keep_special_tokens = False
    torch.manual_seed(0)
    options = SimpleNamespace(
        apply_dst=True,
        apply_inbatch=False,
        dual_reg=False,
        dst_method="rank",
        dst_loss_weight=1.0,
        rank_margin=0.0,
        scale_loss=False,
        tch_min_confidence=0.0,
        tch_no_drop=True,
        with_pos=True,
    )
    around = BertConfig(attn_implementation="eager")  # of the wrapper class, which has no attention of its own
    if distil:
        model = DenseLearnerWithSpladeDistil(
            options, around, None, BertModel(student), DistilBertSpladeEnocder(teacher)
        )
    else:
        options.apply_distill = False
        model = DenseLearner(options, around, None, BertModel(student))
    queries = len(batch["query_ids"])
    inputs = {
        "input_ids": batch["passage_ids"].view(queries, -1, batch["passage_ids"].shape[1]),
        "attention_mask": batch["passage_mask"].view(queries, -1, batch["passage_mask"].shape[1]),
        "input_ids_query": batch["query_ids"],
        "attention_mask_query": batch["query_mask"],
    }
    return model, lambda: model(training_mode="retrieval_finetune", **inputs)["loss"]


class Anything(ModuleType):
    """A module that has every name, for imports that a training step does not use."""

    __path__ = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def replace_removed_names() -> None:
    """Make code of 2022 importable with current libraries; the removed names are not part of a step."""
    for name in ("datasets", "torch.utils.tensorboard"):
        sys.modules[name] = Anything(name)
    sys.modules["transformers"].AdamW = torch.optim.AdamW


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["tevatron", "led", "led-contrastive"])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("batch", type=Path)
    for name in ("layers", "hidden", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    logging.disable(logging.CRITICAL)
    with np.load(a.batch) as arrays:
        batch = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "queries"}
    checkout = a.checkout.resolve()
    if a.name == "tevatron":
        model, loss = tevatron_loss(checkout, batch, a.layers, a.hidden)
    else:
        model, loss = led_loss(checkout, batch, a.layers, a.hidden, distil=a.name == "led")
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)
    for _ in sys.stdin:
        start = time.perf_counter(), time.process_time()
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()
        print(time.perf_counter() - start[0], time.process_time() - start[1], flush=True)


if __name__ == "__main__":
    main()

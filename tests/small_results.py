"""A results folder as a run leaves it, with tiny models, odd ids and an odd vocabulary, made within seconds."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny import BERT, FAMILIES, VOCABULARY, fill, import_settings, save_store, save_tokenizer, start, texts
from transformers import BertConfig

from led_pipeline.data.formats.judgements import write_qrels
from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tables import Ranking, write_ranking
from led_pipeline.data.tokens import TokenStore
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.inference.encode import dense_rows, sparse_rows, write_vectors
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.models.saved_model import save
from led_pipeline.recipe.layout import Layout
from led_pipeline.search.exact import exact_sparse
from led_pipeline.search.impacts import quantise

# Entries that no analyser would keep intact, if it were asked: white space, quotes, dots, an escape, other scripts.
ODD_ENTRIES = ["x y", "tab\there", "\u3000", '"', "'", ".", "##.b", "é", "語", "x\\u0020y", "back\\slash", "[no-term]"]
ENTRIES = [*VOCABULARY, *ODD_ENTRIES]
PADDED = len(ENTRIES) + 3  # rows of the embeddings, more than the tokenizer has entries
PASSAGES, QUERIES = 300, 12
ODD_IDS = ["naïve", '"quoted"', "a,b", "007", "D1", "d1", "日本", "p/1?x=2&y", "a\\b", "#5"]


def ids(prefix: str, count: int) -> list[str]:
    """Return ids that do not sort in their order; the first passages have odd ones."""
    plain = [f"{prefix}{(7 * i) % count}" for i in range(count)]
    return [*ODD_IDS, *plain[len(ODD_IDS) :]] if prefix == "p" else plain


def save_results(root: Path, stages: dict[str, dict[str, Any]], numeric: bool = False) -> Path:
    """Write a results folder with imported stages, their vectors, rankings and judgements, and return it.

    Args:
        stages: name -> the settings of an imported model, with its family.
        numeric: whether ids of passages are integers.
    """
    results, layout = root / "results" / "tiny", Layout(str(root / "results" / "tiny"))
    recipe = {
        "dataset": {
            "name": "tiny",
            "source": "folder",
            "folder": "data",
            "splits": {"train": {}, "dev": {}},
            "shards": 2,
        },
        "evaluation": {"splits": ["dev"], "depth": 20},
        "tokenizer": "somewhere",
        "stages": {
            name: {"init": "x/y", "train": False, **values, **reranks(values)} for name, values in stages.items()
        },
    }
    Path(layout.resolved_recipe).parent.mkdir(parents=True)
    Path(layout.resolved_recipe).write_text(json.dumps(recipe))
    save_tokenizer(root / "tokenizer", ENTRIES)
    pids = [str(10 * i - 3) for i in range(PASSAGES)] if numeric else ids("p", PASSAGES)
    bodies, titles = texts(PASSAGES, 20, seed=1), texts(PASSAGES, 4, seed=2)
    titles[5] = ""
    passages = save_texts(Path(layout.passages), root, {"id": pids, "title": titles, "text": bodies})
    questions = [" ".join(text.split()[:4]) for text in bodies[:QUERIES]]
    queries = save_texts(Path(layout.queries("dev")), root, {"id": ids("q", QUERIES), "text": questions})
    write_qrels(Path(layout.qrels("dev")), zip(ids("q", QUERIES), pids[:QUERIES], [1] * QUERIES, strict=True))
    for name, values in stages.items():
        save_stage(root, layout, name, values, passages, queries)
    return results


def reranks(values: dict[str, Any]) -> dict[str, Any]:
    return {"rerank": {"depth": 20}} if values["family"] == "ranker" else {}


def save_texts(path: Path, root: Path, columns: dict[str, list[str]]) -> TokenStore:
    tokens = path.with_suffix(".arrow")
    store = save_store(tokens, root / "tokenizer", columns)
    if tokens.with_suffix(".parquet") != path:
        tokens.with_suffix(".parquet").replace(path)
    return store


def save_stage(
    root: Path, layout: Layout, name: str, values: dict[str, Any], passages: TokenStore, queries: TokenStore
) -> None:
    family = values["family"]
    labels = {"num_labels": 1} if family == "ranker" else {}
    config = BertConfig(**BERT | {"vocab_size": PADDED}, **labels)
    fill(FAMILIES[family](config)).save_pretrained(root / "init" / name)
    settings = import_settings(**values)
    model = start(root / "init" / name, settings, root / "tokenizer").eval()
    folder = Path(layout.model(name))
    folder.mkdir(parents=True)
    save(model, settings, root / "tokenizer", folder)
    if family == "ranker":
        return
    cpu, suffix = torch.device("cpu"), "npy" if family == "dense" else "arrow"
    encode = dense_rows if family == "dense" else sparse_rows
    half = PASSAGES // 2
    for shard, rows in enumerate((np.arange(half), np.arange(half, PASSAGES))):
        store = with_prefix(passages, "passage", str(folder), settings)
        vectors = encode(encoder_of(model, "passage"), store, rows, settings.passage_length, cpu)
        path = Path(layout.passage_vectors(name, shard, suffix))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_vectors(vectors, PADDED, path)
    store = with_prefix(queries, "query", str(folder), settings)
    vectors = encode(encoder_of(model, "query"), store, np.arange(QUERIES), settings.query_length, cpu)
    write_vectors(vectors, PADDED, Path(layout.query_vectors(name, "dev", suffix)))
    if family == "lexicon":
        ranking = exact(layout, name, 20)
        Path(layout.ranking(name, "dev")).parent.mkdir(exist_ok=True)
        write_ranking(layout.ranking(name, "dev"), ranking)


def impacts(layout: Layout, name: str) -> tuple[SparseVectors, SparseVectors]:
    """Return the impacts of queries and passages."""
    files = [Path(layout.passage_vectors(name, shard, "arrow")) for shard in (0, 1)]
    parts = [quantise(SparseVectors.read(path), 100, 0, PASSAGES // 2, path) for path in files]
    joined = [np.concatenate([getattr(part, column)[row] for part in parts for row in range(len(part))])
              for column in ("terms", "weights")]  # fmt: skip
    lengths = np.concatenate([part.terms.lengths for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    queries = Path(layout.query_vectors(name, "dev", "arrow"))
    ragged = type(parts[0].terms)
    passages = SparseVectors(ragged(joined[0], offsets), ragged(joined[1], offsets))
    return quantise(SparseVectors.read(queries), 100, 0, QUERIES, queries), passages


def exact(layout: Layout, name: str, depth: int) -> Ranking:
    """Return the exact ranking by impacts."""
    return exact_sparse(*impacts(layout, name), depth)


def blocks(out: Path, name: str, language: str) -> list[str]:
    """Return the code blocks of one language in one section of an export's README.md."""
    section = (out / "README.md").read_text(encoding="utf-8").split(f"## {name}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def run_readme(out: Path, name: str) -> tuple[str, dict[str, Any]]:
    """Run the Python code of one section of README.md in the folder; return what it prints and its variables."""
    printed, variables = io.StringIO(), {}
    with contextlib.chdir(out), contextlib.redirect_stdout(printed):
        for code in blocks(out, name, "python"):
            exec(compile(code, f"README.md, {name}", "exec"), variables)
    return printed.getvalue(), variables

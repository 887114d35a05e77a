"""Memory: the most memory a process ever held, against the size of a batch, of a collection and of a pickle of scores.

Run as `python benchmarks/memory.py` (about five minutes on two cores), or with `scores` for the last table alone. Every
row is a process of its own, on the CPU, and its number is the resident size of that process, libraries included.

Run as `python benchmarks/memory.py collection` for the steps that read a whole collection: the most anonymous memory of
their commands with 200,000 and with 800,000 passages, and how much of it each further passage takes. `... collection
SIZE FOLDER` takes the sizes SIZE and 4 x SIZE, and keeps data and results in a folder, to compare two versions. With
`ids`, it measures looking up a million of 8.8 million ids, beside an Arrow array of them, and reading judgements.
"""

import argparse
import gzip
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import synthetic
import torch
import workload
from processes import run_measured

from led_pipeline.data.id_table import IdTable
from led_pipeline.data.pools import judged_grades
from led_pipeline.data.scores import store
from led_pipeline.data.tables import write_strings
from led_pipeline.inference.encode import dense_rows, sparse_rows
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.training import modules, objectives

CPU = torch.device("cpu")
LAYERS, HIDDEN, CANDIDATES = 4, 256, 8
# MS MARCO's passages, and about as many scores per query as the published file has: 160 million of 502,939 queries.
PASSAGES, PICKLED_QUERIES, PASSAGES_PER_QUERY = 8_841_823, (5_000, 20_000, 60_000), (120, 520)
MEASURES = ["nothing", "train", "encode", "make-scores", "store", "scores", "collection"]
MEASURES += ["ids", "make-ids", "look-up", "look-up-arrow", "judged"]
JUDGED = 100_000, 500_000  # queries with one judgement each
COLLECTION_SIZE, HITS = 200_000, 300  # passages of the smaller collection; passages in the ranking of a training query
_SPLIT = "--queries train.parquet --passages passages.parquet --qrels train.qrels"
_DRAWING = {"negatives": ["ranking", "published"], "negatives_per_query": 32, "epochs": 3, "batch_size": 64, "seed": 1}
COLLECTION = {
    "prepare passages": "python -m led_pipeline.data.collection passages --format msmarco --out passages.parquet"
    " --collection source/collection.tsv --titles source/titles.tsv --provenance passages.json",
    "prepare train queries": "python -m led_pipeline.data.collection split --format msmarco --passages passages.parquet"
    " --queries source/queries.train.tsv --qrels source/qrels.train.tsv --positive --out-queries train.parquet"
    " --out-qrels train.qrels --provenance train.json",
    "prepare dev queries": "python -m led_pipeline.data.collection split --format msmarco --passages passages.parquet"
    " --queries source/queries.dev.tsv --qrels source/qrels.dev.tsv --out-queries dev.parquet --out-qrels dev.qrels"
    " --provenance dev.json",
    "pool of a ranking": f"python -m led_pipeline.data.pools ranking --ranking ranking.parquet {_SPLIT} --depth 200"
    " --out pool.parquet",
    "pool of published negatives": "python -m led_pipeline.data.pools published --negatives source/negatives.tsv.gz"
    f" {_SPLIT} --depth 200 --out published.parquet",
    "draw": f"python -m led_pipeline.data.trainset draw {_SPLIT} --pools pool.parquet published.parquet"
    f" --settings '{json.dumps(_DRAWING)}' --out drawn.arrow",
}
OPTIONS = {
    "plain": {},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "gradient cache of 32": {"gradient_cache": 32},
}


def training_step(folder: Path, queries: int, option: str) -> None:
    encoder = DenseEncoder(workload.bert(LAYERS, HIDDEN)).train()
    settings = workload.settings("dense", **OPTIONS[option])
    data = workload.training_data(folder, queries, 2_000, CANDIDATES)
    model, rows = modules.trainable(encoder, settings), np.arange(queries)
    objectives.retriever_loss(model, data, rows, slice(0, queries), settings, CPU).total.backward()


def encoding(folder: Path, texts: int, family: str) -> None:
    store = workload.store(folder / "p.arrow", texts, workload.PASSAGE_TOKENS, 128, seed=2)
    if family == "dense":
        dense_rows(DenseEncoder(workload.bert(1, HIDDEN)).eval(), store, np.arange(texts), 128, CPU)
    else:
        model = LexiconEncoder(workload.masked_language_model(1, 64)).eval()
        with torch.no_grad():
            model.backbone.get_output_embeddings().bias.fill_(-4)  # random weights: a few hundred terms per text
        sparse_rows(model, store, np.arange(texts), 128, CPU)


def make_up_scores(folder: Path, queries: int) -> None:
    """Write a gzip pickle {qid: {pid: score}} with the ids of its queries and passages, all integers as in MS MARCO."""
    random = np.random.default_rng(1)
    for name, count in (("queries", queries), ("passages", PASSAGES)):
        parts = ({"id": [str(row) for row in range(first, min(first + 100_000, count))]}
                 for first in range(0, count, 100_000))  # fmt: skip
        write_strings(folder / f"{name}.parquet", parts, ["id"])
    content = {}
    for query in range(queries):
        pids = random.integers(0, PASSAGES, random.integers(*PASSAGES_PER_QUERY)).tolist()
        content[query] = {pid: float(score) for pid, score in zip(pids, random.normal(0, 5, len(pids)), strict=True)}
    with gzip.open(folder / "scores.pkl.gz", "wb", compresslevel=1) as file:
        pickle.dump(content, file)
    print(sum(map(len, content.values())))


def storing(folder: Path) -> None:
    store(folder / "scores.pkl.gz", folder / "queries.parquet", folder / "passages.parquet", (1.0, 0.0), folder / "out")


def scores_table(sizes: tuple[int, ...]) -> None:
    """Print what `data.scores store` takes for pickles of some numbers of queries, each written by another process."""
    workload.head(["pickle of scores", *(f"{size:,} queries" for size in sizes)])
    rows: list[list[str]] = [["pairs"], ["store, MiB"], ["store, processor s"]]
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            pairs, _ = run("make-scores", size, folder)
            output, used = run("store", size, folder)
            for row, value in zip(rows, (int(pairs), int(output), used), strict=True):
                row.append(f"{value:,.0f}")
    for row in rows:
        workload.row(row)


def write_collection(folder: Path, passages: int) -> None:
    """Write a source, and a ranking of its training queries, unless the folder has them already."""
    if not (folder / "ranking.parquet").exists():
        queries = synthetic.write_source(folder / "source", passages)["train"]
        synthetic.write_random_ranking(folder / "ranking.parquet", queries, 0, 1, passages, HITS)


def measured_steps(folder: Path) -> dict[str, dict[str, float]]:
    """Run the steps that read a whole collection, each with the outputs of the steps before it."""
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    return {name: run_measured(f"{command} > log 2>&1 || (cat log; exit 1)", folder, environment, folder / "none")
            for name, command in COLLECTION.items()}  # fmt: skip


def collection_table(size: int, folder: Path) -> None:
    """Print the memory and the processor time of the steps for two sizes, and the memory of each further passage."""
    print(f"{workload.machine()}\n")
    sizes = size, 4 * size
    for passages in sizes:
        write_collection(folder / str(passages), passages)
    small, large = (measured_steps(folder / str(passages)) for passages in sizes)
    workload.head(["step", *(f"{n:,} passages, MB" for n in sizes), "bytes per passage", f"{sizes[1]:,}, processor s"])
    for name in COLLECTION:
        bytes_used = [took[name]["anonymous"] for took in (small, large)]
        slope = (bytes_used[1] - bytes_used[0]) / (sizes[1] - sizes[0])
        cpu = f"{large[name]['cpu_s']:.1f}"
        workload.row([name, *(f"{value / 1e6:,.0f}" for value in bytes_used), f"{slope:.0f}", cpu])


def make_up_ids(folder: Path) -> None:
    """Write the ids of MS MARCO's passages, and queries and judgements of both sizes."""
    parts = ({"id": [str(row) for row in range(first, min(first + 100_000, PASSAGES))]}
             for first in range(0, PASSAGES, 100_000))  # fmt: skip
    write_strings(folder / "passages.parquet", parts, ["id"])
    for queries in JUDGED:
        passages = np.random.default_rng(1).integers(0, PASSAGES, queries).tolist()
        write_strings(folder / f"{queries}.parquet", [{"id": [str(row) for row in range(queries)]}], ["id"])
        (folder / f"{queries}.qrels").write_text("".join(f"{row}\t0\t{pid}\t1\n" for row, pid in enumerate(passages)))


def looking_up(folder: Path, arrow: bool) -> None:
    """Look a million ids up, in an `IdTable` or in an Arrow array of all ids."""
    names = [str(row) for row in np.random.default_rng(1).integers(0, PASSAGES, 1_000_000).tolist()]
    if arrow:
        with pq.ParquetFile(folder / "passages.parquet") as file:
            ids = file.read(columns=["id"])["id"].combine_chunks()
        pc.index_in(pa.array(names), value_set=ids)
    else:
        IdTable.of(folder / "passages.parquet", folder).rows(names)


def ids_table() -> None:
    """Print what looking ids up takes, and what judgements take."""
    print(f"Libraries alone: {alone('nothing')} MiB.\n")
    with tempfile.TemporaryDirectory() as folder:
        run("make-ids", 0, folder)
        workload.head(["step", "peak, MiB", "processor s"])
        for name, *arguments in (
            ("a million of 8.8 million ids, IdTable", "look-up", 0, folder),
            ("a million of 8.8 million ids, Arrow", "look-up-arrow", 0, folder),
            *((f"judgements of {queries:,} queries", "judged", queries, folder) for queries in JUDGED),
        ):
            output, used = run(*arguments)
            workload.row([name, f"{int(output):,}", f"{used:.1f}"])


def run(*arguments: object) -> tuple[str, float]:
    """Run one measurement in a process of its own; return the last line that it prints and its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return output.splitlines()[-1], used


def alone(*arguments: object) -> str:
    """Run one measurement in a process of its own; return its peak in MiB."""
    return f"{int(run(*arguments)[0]):,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", nargs="?", choices=MEASURES)
    parser.add_argument("size", nargs="?", type=int)
    parser.add_argument("what", nargs="?")
    a = parser.parse_args()
    if a.measure == "collection":
        with tempfile.TemporaryDirectory() as temporary:
            collection_table(a.size or COLLECTION_SIZE, Path(a.what or temporary))
        return
    if a.measure == "ids":
        ids_table()
        return
    if a.measure == "make-ids":
        make_up_ids(Path(a.what))
        print()
        return
    if a.measure == "scores":
        scores_table(PICKLED_QUERIES)
        return
    if a.measure == "make-scores":
        make_up_scores(Path(a.what), a.size)
        return
    if a.measure:
        with tempfile.TemporaryDirectory() as folder:
            if a.measure == "train":
                training_step(Path(folder), a.size, a.what)
            elif a.measure == "encode":
                encoding(Path(folder), a.size, a.what)
            elif a.measure in ("look-up", "look-up-arrow"):
                looking_up(Path(a.what), a.measure == "look-up-arrow")
            elif a.measure == "judged":
                parent = Path(a.what)
                judged_grades(parent / f"{a.size}.qrels", parent / f"{a.size}.parquet", parent / "passages.parquet")
            elif a.measure == "store":
                storing(Path(a.what))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    print(f"{workload.machine()}\n")
    print(f"Libraries alone: {alone('nothing')} MiB.\n")
    workload.head([f"training step of {LAYERS} layers of {HIDDEN}, MiB", *(f"{q} x {CANDIDATES}" for q in (4, 16, 64))])
    for option in OPTIONS:
        workload.row([option, *(alone("train", queries, option) for queries in (4, 16, 64))])
    print()
    sizes = (500, 2_000, 8_000, 24_000)
    workload.head(["encoding, MiB", *(f"{size:,} passages" for size in sizes)])
    for family in ("dense", "lexicon"):
        workload.row([family, *(alone("encode", size, family) for size in sizes)])
    print()
    scores_table(PICKLED_QUERIES)


if __name__ == "__main__":
    main()

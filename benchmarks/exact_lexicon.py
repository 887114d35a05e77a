"""Compare searches of lexicon vectors: exact search from a posting file, Anserini, SciPy, and packages from PyPI.

Run as `python benchmarks/exact_lexicon.py --passages 100000 --queries 1000 --hits 1000`. The vectors are synthetic
(`lexicon_vectors.py`, whose statistics are printed). sparse_dot_topn, bmp and pyseismic-lsr are measured where they are
installed (`pip install --target DIR sparse_dot_topn bmp pyseismic-lsr --no-deps`, with DIR on PYTHONPATH).

All times are seconds of the processor, on one thread. That of a query of Anserini is the slope between a tenth of the
queries and all of them, so that the start of Java counts for nothing; other engines run in this process, and the median
of `--rounds` counts. Every ranking is compared with Anserini's, or without it with that of the posting file: queries
with the same passages, with the same order, and with the same scores.
"""

import argparse
import importlib.util
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import lexicon_vectors
import numpy as np
from scipy.sparse import csr_matrix

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranking, write_arrow, write_strings
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import size, tree_bytes
from led_pipeline.search import anserini
from led_pipeline.search.exact import exact_sparse
from led_pipeline.search.exact_lexicon import FILE, impact_index, open_index, search
from led_pipeline.search.impacts import quantise

QUANTISATION = 100
Lists = list[tuple[np.ndarray, np.ndarray]]  # rows and scores of every query


@dataclass
class Data:
    folder: Path
    passages: SparseVectors
    queries: SparseVectors  # both with impacts
    hits: int
    rounds: int

    @property
    def files(self) -> tuple[Path, Path, Path]:
        return self.folder / "passages.arrow", self.folder / "queries.arrow", self.folder / "passages.parquet"


@dataclass
class Result:
    index_s: float | None
    query_ms: float
    bytes: int | None
    lists: Lists
    gives_up: str


def processor_s() -> float:
    """Return the processor time of this process and of those that it has started and that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measured(function: Callable[[], object]) -> tuple[float, object]:
    started = processor_s()
    answer = function()
    return processor_s() - started, answer


def per_query(data: Data, function: Callable[[], Lists]) -> tuple[float, Lists]:
    """Return the median milliseconds of a query, and the last answer."""
    times, lists = [], []
    for _ in range(data.rounds):
        seconds, lists = measured(function)
        times.append(seconds)
    return 1_000 * statistics.median(times) / len(data.queries), lists


def lists_of(ranking: Ranking) -> Lists:
    return [(rows, scores) for _, rows, scores in ranking]


def exact(data: Data) -> Result:
    folder = data.folder / "exact"
    passages, _, rows = data.files
    index_s, _ = measured(lambda: impact_index([passages], rows, QUANTISATION, folder, threads=1))
    postings = open_index(folder, len(data.passages), QUANTISATION)
    list(search(postings, data.queries.rows(0, 1), 1))  # compiled or loaded
    ms, lists = per_query(data, lambda: list(search(postings, data.queries, data.hits)))
    return Result(index_s, ms, (folder / FILE).stat().st_size, lists, "nothing")


def without_skipping(data: Data) -> Result:
    postings = open_index(data.folder / "exact", len(data.passages), QUANTISATION)
    ms, lists = per_query(data, lambda: list(search(postings, data.queries, data.hits, prune=False)))
    return Result(None, ms, None, lists, "nothing")


def lucene(data: Data) -> Result:
    folder = data.folder / "lucene"
    passages, queries, rows = data.files
    index_s, _ = measured(lambda: anserini.impact_index([passages], rows, QUANTISATION, folder, threads=1))

    def searched(file: Path) -> list[Ranking]:
        return list(anserini.impact_search(folder, file, QUANTISATION, rows, data.hits, threads=1))

    few = save(data.folder / "few.arrow", SparseVectors.read(queries).rows(0, max(1, len(data.queries) // 10)))
    start, some = measured(lambda: searched(few))
    total, parts = measured(lambda: searched(queries))
    count = len(data.queries) - sum(map(len, some))
    lists = [entry for part in parts for entry in lists_of(part)]
    return Result(index_s, 1_000 * (total - start) / max(1, count), tree_bytes(folder), lists, "nothing")


def scipy(data: Data) -> Result:
    some = data.queries.rows(0, min(200, len(data.queries)))
    seconds, ranking = measured(lambda: exact_sparse(some, data.passages, data.hits))
    return Result(
        None, 1_000 * seconds / len(some), None, lists_of(ranking), "no index: every search reads the vectors"
    )


def sparse_dot_topn(data: Data) -> Result:
    from sparse_dot_topn import sp_matmul_topn

    left = csr_matrix(data.queries.matrix(lexicon_vectors.VOCABULARY).astype(np.int64))
    vectors = data.passages.matrix(lexicon_vectors.VOCABULARY).astype(np.int64)
    index_s, right = measured(lambda: csr_matrix(vectors.T.tocsr()))
    ms, answer = per_query(data, lambda: sp_matmul_topn(left, right, data.hits, sort=True))
    bounds = zip(answer.indptr[:-1], answer.indptr[1:], strict=True)
    lists = [(answer.indices[low:high], answer.data[low:high]) for low, high in bounds]
    return Result(index_s, ms, right.data.nbytes + right.indices.nbytes, lists, "the order of ties")


def bmp(data: Data) -> Result:
    from bmp import Indexer, Searcher

    path = str(data.folder / "bmp.index")

    def build() -> None:
        indexer = Indexer(path, 32, False)
        for row in range(len(data.passages)):
            weights = np.minimum(data.passages.weights[row], 255).tolist()
            terms = map(str, data.passages.terms[row].tolist())
            indexer.add_document(str(row), dict(zip(terms, weights, strict=True)))
        indexer.finish()

    index_s, _ = measured(build)
    searcher = Searcher(path)
    queries = [
        dict(zip(map(str, data.queries.terms[q].tolist()), data.queries.weights[q].astype(float).tolist(), strict=True))
        for q in range(len(data.queries))
    ]
    ms, answers = per_query(data, lambda: [searcher.search(query, data.hits, 1.0, 1.0) for query in queries])
    lists = [(np.array(ids, dtype=np.int64), np.array(scores)) for ids, scores in answers]
    return Result(index_s, ms, Path(path).stat().st_size, lists, "impacts above 255, 32 levels of query weights, ties")


def seismic(data: Data) -> Result:
    from seismic import SeismicDataset, SeismicIndex, get_seismic_string

    kind = get_seismic_string()

    def build() -> SeismicIndex:
        dataset = SeismicDataset()
        for row in range(len(data.passages)):
            terms = np.array(list(map(str, data.passages.terms[row].tolist())), dtype=kind)
            dataset.add_document(str(row), terms, data.passages.weights[row].astype(np.float32))
        return SeismicIndex.build_from_dataset(dataset, num_threads=1)

    index_s, index = measured(build)
    queries = [
        (
            np.array(list(map(str, data.queries.terms[q].tolist())), dtype=kind),
            data.queries.weights[q].astype(np.float32),
        )
        for q in range(len(data.queries))
    ]
    ms, answers = per_query(
        data, lambda: [index.search("q", *query, k=data.hits, query_cut=10, heap_factor=0.7) for query in queries]
    )
    lists = [(np.array([int(hit[2]) for hit in hits]), np.array([hit[1] for hit in hits])) for hits in answers]
    return Result(index_s, ms, None, lists, "passages: it is approximate (query_cut 10, heap_factor 0.7)")


ENGINES: dict[str, tuple[Callable[[Data], Result], str | None]] = {  # with the module that it needs
    "anserini": (lucene, None),
    "exact": (exact, None),
    "exact, every posting": (without_skipping, None),
    "scipy": (scipy, None),
    "sparse_dot_topn": (sparse_dot_topn, "sparse_dot_topn"),
    "bmp": (bmp, "bmp"),
    "seismic": (seismic, "seismic"),
}


def save(path: Path, vectors: SparseVectors) -> Path:
    write_arrow(path, {"terms": vectors.terms, "weights": vectors.weights})
    return path


def prepared(folder: Path, passages: int, queries: int, hits: int, rounds: int) -> Data:
    blocks, of_queries = lexicon_vectors.draw(passages, queries)
    for name, value in lexicon_vectors.describe(blocks, of_queries).items():
        print(f"- {name}: {value:.3g}")
    terms = Ragged.joined([block.terms for block in blocks], np.uint16)
    weights = Ragged.joined([block.weights for block in blocks], np.float32)
    vectors = SparseVectors(terms, weights)
    files = save(folder / "passages.arrow", vectors), save(folder / "queries.arrow", of_queries)
    ids = [str(row) for row in range(passages)]
    batch = {"id": ids, "title": [""] * passages, "text": ["x"] * passages}
    write_strings(folder / "passages.parquet", [batch], ["id", "title", "text"])
    pairs = zip((vectors, of_queries), files, strict=True)
    impacts = (quantise(each, QUANTISATION, 0, len(each), file) for each, file in pairs)
    return Data(folder, *impacts, hits, rounds)


def equal(lists: Lists, reference: Lists) -> str:
    """Return for how many queries passages, order and scores are those of the reference."""
    pairs = list(zip(lists, reference, strict=False))
    passages = sum(set(a[0].tolist()) == set(b[0].tolist()) for a, b in pairs)
    order = sum(np.array_equal(a[0], b[0]) for a, b in pairs)
    scores = sum(np.array_equal(np.sort(a[1]), np.sort(b[1].astype(a[1].dtype))) for a, b in pairs)
    return f"{passages:,} / {order:,} / {scores:,} of {len(pairs):,}"


def versions() -> str:
    names = ("numba", "scipy", "sparse_dot_topn", "bmp", "pyseismic-lsr")
    installed = {each.name.lower(): each.version for each in distributions()}
    return ", ".join(f"{name} {installed[name]}" for name in names if name in installed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--hits", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    a = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, {versions()}")
    print(f"{a.passages:,} passages, {a.queries:,} queries, {a.hits:,} hits, quantisation {QUANTISATION}")
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder), a.passages, a.queries, a.hits, a.rounds)
        rows, reference, first = [], None, None
        for name in a.engines:
            engine, module = ENGINES[name]
            if module and not importlib.util.find_spec(module):
                print(f"- {name}: not installed")
                continue
            started = time.perf_counter()
            result = engine(data)
            reference = result.lists if reference is None else reference
            first = result.query_ms if first is None else first
            index_s = "" if result.index_s is None else f"{result.index_s:,.1f}"
            each = f"{result.query_ms:.2f}", f"{first / result.query_ms:.1f}"
            disk = "" if result.bytes is None else size(result.bytes)
            rows.append([name, index_s, *each, disk, equal(result.lists, reference), result.gives_up])
            print(f"- {name} took {time.perf_counter() - started:.0f} s, {rows[-1]}", flush=True)
    heads = ["engine", "index, CPU s", "CPU ms per query", "times less", "bytes"]
    head = [*heads, f"same passages / order / scores as {a.engines[0]}", "gives up"]
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()

"""Time searches of systems other than dense stages: one query after another, on one thread.

Run as `python -m led_pipeline.use.query_time bm25 --index DIR --queries Q.parquet --language en --k1 0.9 --b 0.4
--hits K --count N --out JSON`, as `... impact --index DIR --query-vectors Q.arrow --quantisation 100 ...`, or as
`... fusion --times A.json B.json --rankings A B --settings JSON ...`.

The time of a query is that from its text (bm25) or from its term weights (impact) to its best passages, as for dense
stages (`search.query_time`): encoding a query is not a part of it. With `--node`, an OpenSearch node searches, and the
way there and back counts; with `--postings`, the index is a posting file. A fusion takes the times of its systems for
the same query, one after another, and that of the sum. Every query is searched once before the clock starts.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from led_pipeline.data.fusion import fuse_lists
from led_pipeline.data.tables import read_column, read_ranking
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import write_json
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.step_settings import parser_of
from led_pipeline.recipe.systems import Fusion
from led_pipeline.search.impacts import quantise
from led_pipeline.search.query_time import added, query_count, summary, timed
from led_pipeline.use.lucene import LuceneIndex
from led_pipeline.use.node import NodeIndex
from led_pipeline.use.postings import PostingIndex

Index = LuceneIndex | NodeIndex
TermIndex = Index | PostingIndex
Searches = list[Callable[[], object]]


def bm25_searches(index: Index, queries: Path, hits: int, count: int) -> Searches:
    """Return the searches of the first queries by their texts."""
    texts: Sequence[str] = read_column(queries, "text")[:count]
    return [partial(index.search, text, hits) for text in texts]


def impact_searches(index: TermIndex, queries: Path, quantisation: int | None, hits: int, count: int) -> Searches:
    """Return the searches of the first queries by their impacts, or by their weights without a `quantisation`."""
    vectors = SparseVectors.read(queries)
    rows = [
        quantise(vectors, quantisation, row, row + 1, queries) if quantisation else vectors.rows(row, row + 1)
        for row in range(min(count, len(vectors)))
    ]
    return [partial(index.search_terms, row, hits) for row in rows]


def fusions(rankings: Sequence[Path], fusion: Fusion, hits: int, count: int) -> Searches:
    """Return the sums of the first queries' rankings."""
    by_system = [read_ranking(path, 0, count) for path in rankings]
    lists = [{query: (rows, scores) for query, rows, scores in ranking} for ranking in by_system]
    empty = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    return [partial(fuse_lists, [ranked.get(query, empty) for ranked in lists], fusion, hits) for query in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    bm25, impact, fusion = (commands.add_parser(name) for name in ("bm25", "impact", "fusion"))
    for command in (bm25, impact, fusion):
        command.add_argument("--hits", type=int, required=True)
        command.add_argument("--out", type=Path, required=True)
    for command in (bm25, impact):
        command.add_argument("--count", type=int, required=True, help="number of queries")
        command.add_argument("--index", type=Path, required=True)
        command.add_argument("--node", action="store_true", help="the index is on an OpenSearch node")
    bm25.add_argument("--queries", type=Path, required=True)
    bm25.add_argument("--language", default="en")
    bm25.add_argument("--k1", type=float, required=True)
    bm25.add_argument("--b", type=float, required=True)
    impact.add_argument("--query-vectors", type=Path, required=True)
    impact.add_argument("--quantisation", type=int, required=True)
    impact.add_argument("--postings", action="store_true", help="the index is a posting file")
    fusion.add_argument("--times", type=Path, nargs="+", required=True, help="the measured times of its systems")
    fusion.add_argument("--rankings", type=Path, nargs="+", required=True)
    fusion.add_argument("--settings", type=parser_of(Fusion), required=True)
    a = parser.parse_args()
    index: Index
    if a.command == "bm25":
        note = {"kind": "bm25", "language": a.language, "k1": a.k1, "b": a.b}
        index = NodeIndex(a.index, note, a.language) if a.node else LuceneIndex(a.index, a.language, (a.k1, a.b))
        times = timed(bm25_searches(index, a.queries, a.hits, a.count))
    elif a.command == "impact":
        quantisation = None if a.node else a.quantisation
        in_process = PostingIndex(a.index, a.quantisation) if a.postings else LuceneIndex(a.index)
        terms: TermIndex = NodeIndex(a.index, {"kind": "impact"}) if a.node else in_process
        times = timed(impact_searches(terms, a.query_vectors, quantisation, a.hits, a.count))
    else:
        times = added(a.times, timed(fusions(a.rankings, a.settings, a.hits, query_count(a.times))))
    write_json(a.out, {"hits": a.hits} | summary(times))


if __name__ == "__main__":
    run_main(main)

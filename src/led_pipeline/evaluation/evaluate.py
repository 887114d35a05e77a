"""Write rankings as TREC run files, and measure run files against qrels (module `measures`).

Run as `python -m led_pipeline.evaluation.evaluate run --ranking R --queries Q --passages P --tag NAME --depth 1000
--out RUN` and `python -m led_pipeline.evaluation.evaluate measure --run RUN --qrels F --relevant-from 1 --out JSON
--per-query TSV [--measures MAP nDCG@10 ...]`; for a lexicon stage also `--query-vectors Q --passage-vectors SHARD...`,
for the FLOPS of a pair.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from led_pipeline.data.formats.judgements import load_qrels, read_run, write_run
from led_pipeline.data.tables import Ranking, read_column, read_ids, read_rankings
from led_pipeline.evaluation.measures import PerQuery, Result, measure
from led_pipeline.evaluation.sparsity import sparsity
from led_pipeline.files.atomic import atomic, write_json
from led_pipeline.files.digests import digest
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import check_regular, reading
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.measures import MEASURES, Measure
from led_pipeline.versions import commit, installed


@dataclass(frozen=True)
class PassageIds:
    """The ids of some passages by row, as Arrow strings, since a run may hold millions."""

    rows: NDArray[np.int32]  # ascending
    ids: pa.ChunkedArray

    @classmethod
    def read(cls, path: Path, rows: NDArray[np.int32]) -> "PassageIds":
        """Read the ids of some rows (ascending) from a table of passages."""
        chunks: list[pa.Array] = []
        for first, ids in read_ids(path):
            low, high = np.searchsorted(rows, [first, first + len(ids)])
            chunks += ids.take(pa.array(rows[low:high] - first)).chunks
        return cls(rows, pa.chunked_array(chunks, type=pa.string()))

    def of(self, rows: NDArray[np.int32]) -> list[str]:
        """Return the ids of some of the rows."""
        ids: list[str] = self.ids.take(pa.array(np.searchsorted(self.rows, rows))).to_pylist()
        return ids


def passage_ids(path: Path, rows: NDArray[np.int32]) -> dict[int, str]:
    """Return the ids of some passage rows."""
    distinct = np.unique(rows)
    return dict(zip(distinct.tolist(), PassageIds.read(path, distinct).of(distinct), strict=True))


def with_ids(
    parts: Iterable[Ranking], queries: Sequence[str], passages: PassageIds, depth: int, drop_same_id: bool = False
) -> Iterator[Result]:
    """Yield the first `depth` results of each query of a ranking by their ids; a query without results is left out.

    Args:
        drop_same_id: drop the passage with the id of the query from the results, as BEIR does.
    """
    for query, rows, scores in chain.from_iterable(parts):
        pids, values = passages.of(rows[: depth + drop_same_id]), scores[: depth + drop_same_id].tolist()
        if drop_same_id and queries[query] in pids:
            place = pids.index(queries[query])
            del pids[place], values[place]
        if pids:
            yield queries[query], pids[:depth], values[:depth]


def write_per_query(path: Path, per_query: PerQuery) -> None:
    """Write a header and one tab-separated line per query: its id and its measures, the same ones for each."""
    measures = list(next(iter(per_query.values()), {}))
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        writer.writerow(["qid", *measures])
        writer.writerows([qid, *(values[m] for m in measures)] for qid, values in per_query.items())


def read_per_query(path: Path) -> PerQuery:
    """Read a file of `write_per_query`."""
    check_regular(path, "measures per query")
    with (
        reading(path, "what `measure` writes; measure the run again", also=(ValueError, IndexError)),
        path.open(encoding="utf-8", newline="") as file,
    ):
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(lines, [])
        if header[:1] != ["qid"]:
            raise InputError(f"{path}:1: expected a header that starts with 'qid', got {header}; measure the run again")
        return {line[0]: dict(zip(header[1:], map(_value, line[1:]), strict=True)) for line in lines}


def _value(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ValueError(f"{text} is no value of a measure")
    return float(text)


def export_run(
    ranking: Path, queries: Path, passages: Path, tag: str, depth: int, drop_same_id: bool, out: Path
) -> None:
    """Write a ranking as a TREC run file."""
    rows = np.empty(0, dtype=np.int32)
    for part in read_rankings(ranking):
        rows = np.union1d(rows, part.passages.values)
    ids = PassageIds.read(passages, rows)
    write_run(out, with_ids(read_rankings(ranking), read_column(queries, "id"), ids, depth, drop_same_id), tag)


def measure_run(
    run: Path, qrels: Path, relevant_from: int, per_query: Path, measures: Sequence[str] = MEASURES
) -> dict[str, Any]:
    """Measure a TREC run file, write the measures per query, and return the summary."""
    judgements = load_qrels(qrels)
    if not judgements:
        raise InputError(f"{qrels}: no judgement in it, expected at least one to measure against")
    measured = measure(read_run(run), judgements, relevant_from, measures)
    write_per_query(per_query, measured.per_query)
    return {
        "run": str(run),
        "qrels": str(qrels),
        "queries": len(measured.per_query),
        "without_results": measured.without_results,
        "without_relevant": measured.without_relevant,
        "unjudged_dropped": measured.unjudged_dropped,
        "relevant_from": relevant_from,
        "measures": measured.means(),
        "provenance": {
            "sha256": {"run": digest(run), "qrels": digest(qrels)},
            "commit": commit(),
            "packages": installed(),
        },
    }


def measures_of(names: Sequence[str]) -> list[str]:
    """Return the measures that a command line names, each once.

    Raises:
        InputError: a name is no measure.
    """
    try:
        return list(dict.fromkeys(TypeAdapter(list[Measure]).validate_python(list(names))))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--measures {first['input']}: {first['msg']}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description="Write rankings as run files, and measure run files.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="write a ranking as a TREC run file")
    for name in ("ranking", "queries", "passages", "out"):
        run.add_argument(f"--{name}", type=Path, required=True)
    run.add_argument("--tag", required=True)
    run.add_argument("--depth", type=int, required=True)
    run.add_argument("--drop-same-id", action="store_true", help="drop the passage with the id of the query")
    measuring = commands.add_parser("measure", help="measure a TREC run file against qrels")
    for name in ("run", "qrels", "out", "per-query"):
        measuring.add_argument(f"--{name}", type=Path, required=True)
    measuring.add_argument("--relevant-from", type=int, default=1)
    measuring.add_argument("--measures", nargs="+", default=MEASURES, help="names such as nDCG@10 and MAP")
    measuring.add_argument("--query-vectors", type=Path, help="sparse vectors of the run's queries")
    measuring.add_argument("--passage-vectors", type=Path, nargs="+", default=[], help="those of the collection")
    a = parser.parse_args()
    if a.command == "run":
        export_run(a.ranking, a.queries, a.passages, a.tag, a.depth, a.drop_same_id, a.out)
        return
    summary = measure_run(a.run, a.qrels, a.relevant_from, a.per_query, measures_of(a.measures))
    if a.query_vectors:
        summary["sparsity"] = sparsity(a.query_vectors, a.passage_vectors)
    write_json(a.out, summary)


if __name__ == "__main__":
    run_main(main)

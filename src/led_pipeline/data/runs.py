"""Store a run that another program made as a ranking of a split's queries.

Run as `python -m led_pipeline.data.runs --file FILE --queries Q --passages P --hits 1000 --skip --out RANKING`. The
formats are those of score files (module `formats.score_files`): a TREC run, SPLADE's run.json, and others.

The first `hits` passages of every query are stored, best first; ties keep the order of the file. A query that is not in
the split, or a passage that is not in the collection, is a defect: it stops the command unless `--skip` names its kind.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from led_pipeline.data.formats.characters import look_alikes, spelled
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.score_files import Scored, read_scores
from led_pipeline.data.formats.score_lines import line_of
from led_pipeline.data.id_table import IdTable
from led_pipeline.data.pools import blocks, in_row_order
from led_pipeline.data.tables import Ranked, Ranking, count_rows, every_id, read_column, write_rankings
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.dataset import OF_RUNS


class IdCheck:
    """The queries and passages of a dataset, to check the ids of a run."""

    def __init__(self, file: Path, queries: Path, passages: Path, problems: Problems, folder: Path) -> None:
        """Read the ids; those of the passages fill a temporary file in `folder` (module `id_table`)."""
        self._file, self._passages, self._problems = file, passages, problems
        self._queries = set(read_column(queries, "id"))
        self._reported: set[str] = set()
        self.ids = IdTable.of(passages, folder)

    def parts(self, lists: Iterable[Scored]) -> Iterator[Scored]:
        """Yield the lists of a run without unknown queries and passages, which are reported."""
        for names, pids, scores in blocks(lists):
            in_collection = self.ids.has(pid for part in pids for pid in part)
            starts = np.cumsum([0, *map(len, pids)])
            for i, name in enumerate(names):
                if name not in self._queries:
                    self._report("query", "among the queries of this split", name, None, len(pids[i]), self._queries)
                    continue
                existing = in_collection[starts[i] : starts[i + 1]]
                for pid in (pid for pid, exists in zip(pids[i], existing, strict=True) if not exists):
                    self._report("passage", "in the collection", name, pid, 1, every_id(self._passages))
                rows = np.flatnonzero(existing).tolist()
                yield name, [pids[i][row] for row in rows], [scores[i][row] for row in rows]

    def _report(self, kind: str, where: str, qid: str, pid: str | None, lines: int, ids: Iterable[str]) -> None:
        """Report lines with an unknown id; the first fault of a kind is looked up in the file."""
        defect, name, line, fault = f"run_without_{kind}", pid or qid, None, ""
        if not self._problems.skips(defect) and defect not in self._reported:
            self._reported.add(defect)
            line, twin = line_of(self._file, qid, pid), look_alikes([name], ids).get(name)
            hint = f", where {spelled(twin)} is; write ids in one way" if twin else ", expected it there"
            fault = f"{kind} {spelled(name)} is ranked but not {where}{hint}"
        self._problems.add(defect, self._file, line, fault, lines)


def store(file: Path, queries: Path, passages: Path, hits: int, problems: Problems, out: Path) -> None:
    """Write a run as a ranking of the queries of a split, each of which has an entry.

    Raises:
        InputError: an id is unknown and its defect is not skipped, or no query of the split has a result.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    check, count = IdCheck(file, queries, passages, problems, out.parent), count_rows(queries)
    lists_read = check.parts(read_scores(file))
    ranked = passages_ranked = 0
    nothing = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)

    def lists() -> Iterator[Ranked]:
        nonlocal ranked, passages_ranked
        last = -1
        for query, rows, scores in in_row_order(lists_read, file, queries, passages, out.parent, check.ids):
            yield from ((row, *nothing) for row in range(last + 1, query))
            order = np.argsort(-scores, kind="stable")[:hits]
            ranked, passages_ranked, last = ranked + int(len(order) > 0), passages_ranked + len(order), query
            yield query, rows[order], scores[order]
        yield from ((row, *nothing) for row in range(last + 1, count))
        problems.check()  # inside the stream, so that a bad run is not published
        if not ranked:
            raise InputError(f"{file}: it ranks no passage for a query of this split; take the file made for it")

    write_rankings(out, Ranking.parts(lists()))
    print(f"{ranked:,} of {count:,} queries with {passages_ranked:,} passages")
    for kinds in problems.skipped.values():
        for kind, lines in kinds.items():
            print(f"{file}: skipped {lines:,} line(s) with {kind}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Store a run that another program made as a ranking.")
    for name in ("file", "queries", "passages", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--hits", type=int, required=True, help="number of passages per query to keep")
    parser.add_argument("--skip", nargs="*", choices=OF_RUNS, default=[], help="defects to leave out and count")
    a = parser.parse_args()
    store(a.file, a.queries, a.passages, a.hits, Problems(a.skip), a.out)


if __name__ == "__main__":
    run_main(main)

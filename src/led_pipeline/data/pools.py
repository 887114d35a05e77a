"""Build a system's pool of negatives: its best passages per training query, without judged ones or copies of positives.

Run as `python -m led_pipeline.data.pools ranking --ranking R --queries Q --passages P --qrels F --depth 200 --out
POOL`. `published --negatives FILE` in place of `ranking --ranking R` takes negatives that somebody published;
`judged` in its place makes a pool of the judged passages themselves, with their grades as scores, from which a trainset
leaves out its positives and their copies. A copy has the text of a passage with a grade above 0 (module `same_text`).
"""

import argparse
import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.formats.characters import look_alikes, spelled
from led_pipeline.data.formats.judgements import load_qrels, read_negatives
from led_pipeline.data.formats.sources import with_folders
from led_pipeline.data.id_table import IdTable
from led_pipeline.data.same_text import first_rows
from led_pipeline.data.tables import Ranked, Ranking, every_id, read_column, read_rankings, rows_of, write_rankings
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main

LOOKED_UP = 1_000_000  # number of published negatives or scores whose rows are looked up at once

_ENTRY = np.dtype([("row", np.int32), ("score", np.float32)])


@dataclass(frozen=True)
class LeftOut:
    """Passages that cannot be negatives, by query row."""

    passages: Mapping[int, Collection[int]]  # passage rows, in general those of the judged passages
    texts: Mapping[int, Collection[int]] = field(
        default_factory=dict
    )  # first rows with the texts of the query's positives
    first_rows: NDArray[np.int32] | None = None  # for every passage, the first row with its text; needed with `texts`

    def stays(self, query: int, passages: NDArray[np.int32]) -> tuple[NDArray[np.int64], int]:
        """Return the positions of the passages that remain, and how many were dropped for their text alone."""
        remaining = unjudged(passages, self.passages.get(query, ()), None)
        texts = self.texts.get(query)
        if self.first_rows is None or not texts:
            return remaining, 0
        others = remaining[~np.isin(self.first_rows[passages[remaining]], list(texts))]
        return others, len(remaining) - len(others)


def unjudged(passages: NDArray[np.int32], judged: Collection[int], depth: int | None) -> NDArray[np.int64]:
    """Return the positions of the first `depth` passages (None: all) of a ranking, best first, that are not judged.

    `judged` may also hold passages to leave out for another reason.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return np.flatnonzero(~np.isin(passages, list(judged)))[:depth]


def judged_grades(qrels: Path, queries: Path, passages: Path) -> dict[int, dict[int, int]]:
    """Return the grades of the judged passages of each query: query row -> passage row -> grade.

    Memory: 0.8 kB per judged query while the ids are looked up, whatever the number of passages.
    """
    judged = load_qrels(qrels)
    query_rows = rows_of(queries, judged)
    rows = rows_of(passages, {pid for grades in judged.values() for pid in grades})
    by_row = {}
    for qid in list(judged):
        grades = judged.pop(qid)  # so that only one of the two dictionaries is whole
        if qid in query_rows:
            by_row[query_rows[qid]] = {rows[pid]: grade for pid, grade in grades.items()}
    return by_row


RankedIds = tuple[str, list[str], Sequence[float]]  # query id; passage ids, best first; scores


def with_own(judged: Mapping[int, Collection[int]], queries: Path, passages: Path) -> dict[int, set[int]]:
    """Return the judged passages by query row, with the passage that has the id of the query added."""
    ids = read_column(queries, "id")
    rows = rows_of(passages, ids)
    same_id = {query: {rows[name]} for query, name in enumerate(ids) if name in rows}
    return {query: {*judged.get(query, ()), *same_id.get(query, ())} for query in judged.keys() | same_id.keys()}


def judged_lists(grades: dict[int, dict[int, int]]) -> Iterator[Ranked]:
    """Yield each query's judged passages with their grades, the highest grade first; ties are in row order."""
    for query, grade_of in sorted(grades.items()):
        rows = sorted(grade_of, key=lambda row: (-grade_of[row], row))
        yield query, np.array(rows, dtype=np.int32), np.array([grade_of[row] for row in rows], dtype=np.float32)


def published(path: Path, queries: Path, passages: Path, folder: Path, examples: bool = False) -> Iterator[Ranked]:
    """Yield the ranked passages of a published file in row order; scores fall by 1, since such files hold none.

    A passage that is repeated for a query is dropped. Errors and the temporary file are those of `in_row_order`.
    """
    lists = ((qid, pids, [0.0] * len(pids)) for qid, pids in read_all_negatives(path, examples))
    for query, rows, _ in in_row_order(lists, path, queries, passages, folder):
        once = rows[np.sort(np.unique(rows, return_index=True)[1])]
        yield query, once, -np.arange(len(once), dtype=np.float32)


def read_all_negatives(path: Path, examples: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield the queries and negatives of a file, or of the files in a folder."""
    return chain.from_iterable(read_negatives(file, examples) for file in with_folders([path]))


def in_row_order(
    lists: Iterable[RankedIds], path: Path, queries: Path, passages: Path, folder: Path, ids: IdTable | None = None
) -> Iterator[Ranked]:
    """Yield the lists of a file with row numbers for ids, in the order of the query rows.

    Queries outside the dataset are dropped and counted (a dataset may be a subset); a passage outside the collection is
    an error, since file and collection then do not belong together. As the file may be in any order, the lists are
    buffered in a temporary file in `folder`, 8 bytes a passage; several lists of one query are joined.

    Args:
        ids: those of the passages, if the caller has them already.

    Memory: 8 bytes per passage (module `id_table`), 24 bytes per list of the file, and LOOKED_UP ids.
    """
    query_rows = {name: row for row, name in enumerate(read_column(queries, "id"))}
    strangers: set[str] = set()

    def of_dataset() -> Iterator[RankedIds]:
        for part in lists:
            if part[0] in query_rows:
                yield part
            else:
                strangers.add(part[0])

    table = IdTable.of(passages, folder) if ids is None else ids
    places, first = array("q"), 0  # query row, first entry and number of entries of each list
    with tempfile.TemporaryFile(dir=folder) as file:
        for names, pids, scores in blocks(of_dataset()):
            rows = table.rows(list(chain.from_iterable(pids)))
            lengths = [len(part) for part in pids]
            if len(absent := np.flatnonzero(rows < 0)):
                missing = int(absent[0])
                name = names[int(np.searchsorted(np.cumsum(lengths), missing, side="right"))]
                pid = list(chain.from_iterable(pids))[missing]
                twin = look_alikes([pid], every_id(passages)).get(pid)
                advice = "; take the file made for this collection"
                if twin:
                    advice = f", where {spelled(twin)} is; write ids in one way"
                raise InputError(f"{path}: passage {spelled(pid)} of query '{name}' is not in the collection{advice}")
            entries = np.empty(len(rows), dtype=_ENTRY)
            entries["row"], entries["score"] = rows, np.fromiter(chain.from_iterable(scores), np.float32)
            file.write(entries.tobytes())
            for name, length in zip(names, lengths, strict=True):
                places.extend((query_rows[name], first, length))
                first += length
        file.flush()
        entries = np.memmap(file, dtype=_ENTRY, mode="r") if first else np.empty(0, dtype=_ENTRY)
        lists_read = np.frombuffer(places, dtype=np.int64).reshape(-1, 3)
        lists_read = lists_read[np.argsort(lists_read[:, 0], kind="stable")]
        if strangers:
            print(passed_over(path, strangers, query_rows))
        row_of_list, starts = np.unique(lists_read[:, 0], return_index=True)
        ends = np.append(starts, len(lists_read))[1:]
        for query, low, high in zip(row_of_list.tolist(), starts, ends, strict=True):
            part = np.concatenate([entries[start : start + length] for _, start, length in lists_read[low:high]])
            yield query, np.ascontiguousarray(part["row"]), np.ascontiguousarray(part["score"])


def passed_over(path: Path, strangers: set[str], queries: Iterable[str]) -> str:
    """Return the sentence about the queries of a file that are not in the dataset."""
    twins = look_alikes(strangers, queries)
    sentence = f"{path}: {len(strangers):,} queries dropped, since they are not in the dataset"
    if twins:
        one, other = next(iter(twins.items()))
        sentence += f"; {len(twins):,} of them are in it with another spelling ({spelled(one)} for {spelled(other)})"
    return sentence


def blocks(lists: Iterable[RankedIds]) -> Iterator[tuple[list[str], list[list[str]], list[Sequence[float]]]]:
    """Group lists into blocks of about LOOKED_UP passages: the queries, their passages and the scores."""
    names: list[str] = []
    pids: list[list[str]] = []
    scores: list[Sequence[float]] = []
    count = 0
    for name, part, values in lists:
        names.append(name)
        pids.append(part)
        scores.append(values)
        count += len(part)
        if count >= LOOKED_UP:
            yield names, pids, scores
            names, pids, scores, count = [], [], [], 0
    if names:
        yield names, pids, scores


def left_out_of(grades: dict[int, dict[int, int]], passages: Path) -> LeftOut:
    """Return what cannot be a negative: the judged passages, and the texts of those with a grade above 0."""
    first = first_rows(passages)
    positives = {query: [row for row, grade in of_row.items() if grade > 0] for query, of_row in grades.items()}
    texts = {query: tuple(first[rows].tolist()) for query, rows in positives.items() if rows}
    return LeftOut(grades, texts, first)


def build_pool(rankings: Iterable[Ranked], left_out: LeftOut, depth: int, out: Path) -> None:
    """Write the pool of one system, query by query, and a manifest beside it; a query without negatives is dropped.

    A query's pool is the first `depth` passages of its ranking (best first) that are not left out. The manifest counts,
    among others, `copies_of_positives`: passages of the rankings that were dropped for their text alone.
    """
    counts = Counter(queries=0, queries_with_fewer=0, passages=0, copies_of_positives=0)

    def lists() -> Iterator[Ranked]:
        for query, passages, scores in rankings:
            positions, copies = left_out.stays(query, passages)
            positions = positions[:depth]
            counts.update(copies_of_positives=copies)
            if len(positions):
                counts.update(queries=1, queries_with_fewer=int(len(positions) < depth), passages=len(positions))
                yield query, passages[positions], scores[positions]

    write_rankings(out, Ranking.parts(lists()))
    write_json(out.with_suffix(".json"), {"depth": depth, **counts})
    print(
        f"{counts['queries']:,} queries with {counts['passages']:,} negatives, {counts['queries_with_fewer']:,} of them"
        f" with fewer than {depth}; {counts['copies_of_positives']:,} passages dropped for having a positive's text"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the pool of negatives of one system.")
    parser.add_argument("kind", choices=["ranking", "published", "judged"])
    parser.add_argument("--ranking", type=Path)
    parser.add_argument("--negatives", type=Path)
    parser.add_argument("--format", choices=["examples"], help="the negatives are training examples that hold texts")
    parser.add_argument("--queries", required=True, type=Path)
    parser.add_argument("--passages", required=True, type=Path)
    parser.add_argument("--qrels", required=True, type=Path)
    parser.add_argument("--depth", required=True, type=int)
    parser.add_argument("--drop-same-id", action="store_true", help="drop the passage with the id of the query")
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    grades = judged_grades(a.qrels, a.queries, a.passages)
    left_out = LeftOut({}) if a.kind == "judged" else left_out_of(grades, a.passages)
    if a.kind == "judged":
        rankings = judged_lists(grades)
    elif a.kind == "published":
        rankings = published(a.negatives, a.queries, a.passages, a.out.parent, a.format == "examples")
    else:
        rankings = chain.from_iterable(read_rankings(a.ranking))
    if a.drop_same_id:
        left_out = replace(left_out, passages=with_own(left_out.passages, a.queries, a.passages))
    build_pool(rankings, left_out, a.depth, a.out)


if __name__ == "__main__":
    run_main(main)

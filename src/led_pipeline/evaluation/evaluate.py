"""Evaluation: rankings as TREC run files, their measures per query and on average, and paired tests of two systems.

Run as `python -m led_pipeline.evaluation.evaluate run --ranking R --queries Q --passages P --tag NAME --depth 1000
--out RUN` and `python -m led_pipeline.evaluation.evaluate measure --run RUN --qrels F --relevant-from 1 --out JSON
--per-query TSV`; of a lexicon stage also `--query-vectors Q --passage-vectors SHARD...`, for the FLOPS of a pair.

Measures are trec_eval's, through pytrec_eval; what that means here:

- A mean is over all queries of the qrels. A query without results counts 0, and so does, for the binary measures, one
  whose judged passages all lie below the grade `--relevant-from` (trec_eval keeps it in the mean as well). Results of
  queries that the qrels do not name are dropped and counted.
- Binary measures count grades from `--relevant-from` up as relevant; nDCG takes the grades themselves as gains.
- Passages are ordered by score as a 32-bit float, highest first, and where these tie by passage id, highest first,
  whatever the order of the lines.
- recall@k is the share of a query's relevant passages among the first k, hit@k whether there is any (success). Papers
  call both of them recall; they differ as soon as queries have several relevant passages.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytrec_eval
from numpy.typing import NDArray
from scipy import stats

from led_pipeline.data.formats.judgements import load_qrels, read_run, write_run
from led_pipeline.data.tables import Ranking, read_column, read_ids, read_rankings
from led_pipeline.evaluation.sparsity import sparsity
from led_pipeline.files.atomic import atomic, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits
from led_pipeline.files.reading import check_regular, reading
from led_pipeline.jobs.command import run_main

TREC_NAMES = {
    "MRR@10": "recip_rank",  # cut at 10 by `_at_10`
    "nDCG@10": "ndcg_cut_10",
    "recall@50": "recall_50",
    "recall@100": "recall_100",
    "recall@1000": "recall_1000",
    "hit@50": "success_50",
    "hit@100": "success_100",
    "hit@1000": "success_1000",
}
MEASURES = tuple(TREC_NAMES)
_REQUESTED = {"recip_rank", "ndcg_cut.10", "recall.50,100,1000", "success.50,100,1000"}

Result = tuple[str, Sequence[str], Sequence[float]]  # query id; passage ids and their scores
PerQuery = dict[str, dict[str, float]]  # query id -> measure -> value


@dataclass(frozen=True)
class Measured:
    """The measures of every query of the qrels, in their order, and what was counted on the way."""

    per_query: PerQuery
    without_results: int
    without_relevant: int  # queries with no passage at or above the grade that counts as relevant
    unjudged_dropped: int  # queries of the run that the qrels do not name

    def means(self) -> dict[str, float]:
        """Return the mean of each measure over all queries."""
        return {m: float(np.mean([values[m] for values in self.per_query.values()])) for m in MEASURES}


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two systems on the same queries; positive differences favour the first."""

    mean_a: float
    mean_b: float
    difference: float
    p_randomisation: float
    p_t: float | None  # None where the differences do not vary
    wins: int
    losses: int
    ties: int


def within(depth: int) -> list[str]:
    """Return the measures that rankings of a depth can tell: recall@1000 of 100 passages is recall@100."""
    return [name for name in MEASURES if int(name.partition("@")[2]) <= depth]


@dataclass(frozen=True)
class PassageIds:
    """The ids of some passages, by row; as Arrow strings, since a run may name millions."""

    rows: NDArray[np.int32]  # ascending
    ids: pa.ChunkedArray

    @classmethod
    def read(cls, path: Path, rows: NDArray[np.int32]) -> "PassageIds":
        """Take the ids of some rows, which ascend, out of a table of passages."""
        taken = [pa.chunked_array([], type=pa.string())]
        for first, ids in read_ids(path):
            low, high = np.searchsorted(rows, [first, first + len(ids)])
            taken.append(ids.take(pa.array(rows[low:high] - first)))
        return cls(rows, pa.chunked_array([chunk for part in taken for chunk in part.chunks], type=pa.string()))

    def of(self, rows: NDArray[np.int32]) -> list[str]:
        """Return the ids of some of the rows."""
        return self.ids.take(pa.array(np.searchsorted(self.rows, rows))).to_pylist()


def passage_ids(path: Path, rows: NDArray[np.int32]) -> dict[int, str]:
    """Return the ids of some passage rows."""
    wanted = np.unique(rows)
    return dict(zip(wanted.tolist(), PassageIds.read(path, wanted).of(wanted), strict=True))


def named(
    parts: Iterable[Ranking], queries: Sequence[str], passages: PassageIds, depth: int, drop_same_id: bool = False
) -> Iterator[Result]:
    """Yield the first `depth` results of each query of a ranking by their ids; a query without results is left out.

    Args:
        drop_same_id: a passage with the id of the query is none of its results, as in BEIR.
    """
    for query, rows, scores in chain.from_iterable(parts):
        pids, values = passages.of(rows[: depth + drop_same_id]), scores[: depth + drop_same_id].tolist()
        if drop_same_id and queries[query] in pids:
            own = pids.index(queries[query])
            del pids[own], values[own]
        if pids:
            yield queries[query], pids[:depth], values[:depth]


def _at_10(reciprocal_rank: float) -> float:
    # The first relevant passage stands at rank 10 or better exactly if the reciprocal rank is 1/10 or more, so this
    # equals cutting the ranking at 10 first, and leaves the order of ties to trec_eval.
    return reciprocal_rank if reciprocal_rank >= 1 / 10 else 0.0


def measure(run: Iterable[Result], qrels: dict[str, dict[str, int]], relevant_from: int = 1) -> Measured:
    """Measure a run, which holds each query and each passage of a query once, against judgements.

    Raises:
        InputError: the qrels name no query, or the grade is below 1, which trec_eval takes for not relevant.
    """
    if not qrels:
        raise InputError("the qrels name no query, expected at least one to measure against")
    if not 1 <= relevant_from <= limits().grade:
        raise InputError(f"--relevant-from: expected a grade from 1 to {limits().grade:,}, got {relevant_from}")
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, _REQUESTED, relevance_level=relevant_from)
    measured: PerQuery = {}
    unjudged = 0
    for qid, pids, scores in run:
        if qid in qrels:
            values = evaluator.evaluate({qid: dict(zip(pids, scores, strict=True))})[qid]
            measured[qid] = {name: values[trec] for name, trec in TREC_NAMES.items()}
            measured[qid]["MRR@10"] = _at_10(measured[qid]["MRR@10"])
        else:
            unjudged += 1
    return Measured(
        {qid: measured.get(qid) or dict.fromkeys(MEASURES, 0.0) for qid in qrels},
        without_results=len(qrels) - len(measured),
        without_relevant=sum(max(grades.values(), default=0) < relevant_from for grades in qrels.values()),
        unjudged_dropped=unjudged,
    )


def write_per_query(path: Path, per_query: PerQuery) -> None:
    """Write one line per query, tab-separated: its id, then its measures under a header."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        writer.writerow(["qid", *MEASURES])
        writer.writerows([qid, *(values[m] for m in MEASURES)] for qid, values in per_query.items())


def read_per_query(path: Path) -> PerQuery:
    """Read what `write_per_query` wrote."""
    check_regular(path, "measures per query")
    with (
        reading(path, "what `measure` writes; measure the run again", also=(ValueError, IndexError)),
        path.open(encoding="utf-8", newline="") as file,
    ):
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(lines, [])
        if header[:1] != ["qid"]:
            raise InputError(f"{path}:1: expected a header that starts with 'qid', got {header}; measure the run again")
        return {line[0]: dict(zip(header[1:], map(_measure_of, line[1:]), strict=True)) for line in lines}


def _measure_of(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ValueError(f"{text} is no value of a measure")
    return float(text)


def compare(a: PerQuery, b: PerQuery, name: str, seed: int = 42, permutations: int = 20_000) -> Comparison:
    """Test whether two systems differ on one measure, over the same queries.

    The p-value of the randomisation test is the share of random exchanges of the two systems, query by query, whose
    mean difference is at least as far from zero as the observed one (two-sided; the observed one counts as well, so
    it is never 0). The paired t-test stands beside it for reference.

    Raises:
        InputError: the two were not measured on the same queries.
    """
    if a.keys() != b.keys():
        odd = min(a.keys() ^ b.keys())
        raise InputError(f"query {odd} was measured for one of the two systems only; measure both with the same qrels")
    values = np.array([(a[qid][name], b[qid][name]) for qid in a])
    differences = values[:, 0] - values[:, 1]
    constant = bool(np.all(differences == differences[0]))
    return Comparison(
        mean_a=float(values[:, 0].mean()),
        mean_b=float(values[:, 1].mean()),
        difference=float(differences.mean()),
        p_randomisation=_randomisation(differences, seed, permutations),
        p_t=None if constant else float(stats.ttest_rel(values[:, 0], values[:, 1]).pvalue),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
    )


def _randomisation(differences: NDArray[np.float64], seed: int, permutations: int) -> float:
    """Return the two-sided p-value of a sign-flip test; ties among the queries do not move it, so they are left out."""
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    generator = np.random.default_rng(seed)
    block = max(1, 4_000_000 // len(moved))
    reached = 0
    observed = abs(moved.sum()) - 1e-9  # sums of the same numbers in another order differ in the last bits
    for start in range(0, permutations, block):
        size = (min(block, permutations - start), len(moved))
        signs = generator.integers(0, 2, size=size, dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ moved) >= observed).sum())
    return (reached + 1) / (permutations + 1)


def _run(arguments: argparse.Namespace) -> None:
    rows = np.empty(0, dtype=np.int32)
    for part in read_rankings(arguments.ranking):
        rows = np.union1d(rows, part.passages.values)
    passages, queries = PassageIds.read(arguments.passages, rows), read_column(arguments.queries, "id")
    ranking = read_rankings(arguments.ranking)
    results = named(ranking, queries, passages, arguments.depth, arguments.drop_same_id)
    write_run(arguments.out, results, arguments.tag)


def _measure(arguments: argparse.Namespace) -> None:
    qrels = load_qrels(arguments.qrels)
    if not qrels:
        raise InputError(f"{arguments.qrels}: no judgement in it, expected at least one to measure against")
    measured = measure(read_run(arguments.run), qrels, arguments.relevant_from)
    write_per_query(arguments.per_query, measured.per_query)
    summary = {
        "run": str(arguments.run),
        "qrels": str(arguments.qrels),
        "queries": len(measured.per_query),
        "without_results": measured.without_results,
        "without_relevant": measured.without_relevant,
        "unjudged_dropped": measured.unjudged_dropped,
        "relevant_from": arguments.relevant_from,
        "measures": measured.means(),
    }
    if arguments.query_vectors:
        summary["sparsity"] = sparsity(arguments.query_vectors, arguments.passage_vectors)
    write_json(arguments.out, summary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="write a ranking as a TREC run file")
    for name in ("ranking", "queries", "passages", "out"):
        run.add_argument(f"--{name}", type=Path, required=True)
    run.add_argument("--tag", required=True)
    run.add_argument("--depth", type=int, required=True)
    run.add_argument("--drop-same-id", action="store_true", help="a passage with the query's id is no result")
    run.set_defaults(command=_run)
    measuring = commands.add_parser("measure", help="measure a TREC run file against qrels")
    for name in ("run", "qrels", "out", "per-query"):
        measuring.add_argument(f"--{name}", type=Path, required=True)
    measuring.add_argument("--relevant-from", type=int, default=1)
    measuring.add_argument("--query-vectors", type=Path, help="sparse vectors of the run's queries")
    measuring.add_argument("--passage-vectors", type=Path, nargs="+", default=[], help="those of the collection")
    measuring.set_defaults(command=_measure)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    run_main(main)

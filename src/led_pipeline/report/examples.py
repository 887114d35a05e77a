"""Queries side by side: what two systems rank first where they differ most, taken from their rankings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.tables import Ranking, read_column, read_ranking, read_some
from led_pipeline.evaluation.evaluate import passage_ids, read_per_query
from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.measures import first_of

SHOWN = 5
_SNIPPET = 330  # characters

Hit = tuple[int, float]  # passage row, score


def example_measure(recipe: Recipe) -> str:
    """Return the measure by which two systems differ on a query: nDCG@10 if the recipe has it, or its first one."""
    return first_of(recipe.evaluation.measures, "nDCG@10")


def choose(a: PerQuery, b: PerQuery, count: int, measure: str = "nDCG@10") -> list[str]:
    """Return the queries where two systems differ most, by turns one won by the first and one won by the second.

    Among equal differences the order is that of the qrels. If one system is better on fewer queries than its turns,
    the other one takes them; queries where they are equal are never chosen.
    """
    differences = {qid: a[qid][measure] - b[qid][measure] for qid in a if qid in b}
    sides = [
        sorted((qid for qid, d in differences.items() if d > 0), key=lambda qid: -differences[qid]),
        sorted((qid for qid, d in differences.items() if d < 0), key=lambda qid: differences[qid]),
    ]
    chosen: list[str] = []
    while len(chosen) < count and any(sides):
        turn = len(chosen) % 2
        chosen.append((sides[turn] or sides[1 - turn]).pop(0))
    return chosen


def examples(recipe: Recipe, results: Path) -> list[dict[str, Any]]:
    """Return the chosen queries of the first judged split that is evaluated, with both systems' first passages.

    Empty where the recipe asks for none, or where one of the two systems was not evaluated.
    """
    evaluation = recipe.evaluation
    splits = recipe.dataset.judged(evaluation.splits)
    if not evaluation.side_by_side or not evaluation.examples or not splits:
        return []
    split, systems = splits[0], evaluation.side_by_side
    layout = Layout(results)
    tables = [Path(layout.measures_per_query(system, split)) for system in systems]
    rankings = [Path(layout.ranking(system, split)) for system in systems]
    if not all(path.exists() for path in tables + rankings):
        return []
    first, second = measured = [read_per_query(path) for path in tables]
    measure = example_measure(recipe)
    chosen = choose(first, second, evaluation.examples, measure)
    queries = Path(layout.queries(split))
    texts = dict(zip(read_column(queries, "id"), read_column(queries, "text"), strict=True))
    rows = {row: qid for row, qid in enumerate(texts) if qid in chosen}
    hits = [results_of(read_ranking(path), rows) for path in rankings]
    collection = Path(layout.passages)
    ids = passage_ids(
        collection, np.array([row for side in hits for ranked in side.values() for row, _ in ranked], dtype=np.int32)
    )
    qrels = load_qrels(Path(layout.qrels(split)))
    least = recipe.dataset.splits[split].relevant_from
    cut = evaluation.depth, recipe.dataset.exclude_query_id
    hits = [{qid: as_in_the_run(qid, ranked, ids, *cut) for qid, ranked in side.items()} for side in hits]
    best = {row for side in hits for ranked in side.values() for row, _ in ranked[:SHOWN]}
    passages = read_some(collection, best, ["title", "text"])
    chosen_examples = []
    for qid in chosen:
        relevant = {pid: grade for pid, grade in qrels[qid].items() if grade >= least}
        sides = [
            {"system": system, "value": table[qid][measure], **_side(side.get(qid, []), ids, passages, relevant)}
            for system, table, side in zip(systems, measured, hits, strict=True)
        ]
        chosen_examples.append({"qid": qid, "query": texts[qid], "relevant": len(relevant), "sides": sides})
    return chosen_examples


def results_of(ranking: Ranking, rows: Mapping[int, str]) -> dict[str, list[Hit]]:
    """Return the results of some query rows, under their ids."""
    return {
        rows[query]: list(zip(passages.tolist(), scores.tolist(), strict=True))
        for query, passages, scores in ranking
        if query in rows
    }


def as_in_the_run(qid: str, ranked: list[Hit], ids: Mapping[int, str], depth: int, drop_same_id: bool) -> list[Hit]:
    """Return the results of a query that the run file has: the first ones, without the query itself if excluded."""
    return [hit for hit in ranked if not (drop_same_id and ids[hit[0]] == qid)][:depth]


def snippet(text: str, length: int = _SNIPPET) -> str:
    """Return the start of a text on one line, cut between words."""
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    return line[: length + 1].rsplit(" ", 1)[0][:length] + " …"


def _side(
    ranked: list[Hit], ids: Mapping[int, str], passages: Mapping[int, dict[str, str]], relevant: Mapping[str, int]
) -> dict[str, Any]:
    first = next((rank for rank, (row, _) in enumerate(ranked, 1) if ids[row] in relevant), None)
    passages_shown = [
        {
            "pid": ids[row],
            "title": " ".join(passages[row]["title"].split()),
            "text": snippet(passages[row]["text"]),
            "score": score,
            "grade": relevant.get(ids[row]),
        }
        for row, score in ranked[:SHOWN]
    ]
    return {"first_relevant": first, "searched": len(ranked), "passages": passages_shown}

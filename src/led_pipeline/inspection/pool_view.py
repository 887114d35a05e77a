"""Look at a pool of negatives: its sizes, its manifest, and the passages of some queries."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from led_pipeline.data.tables import count_rows, read_ranking, read_rankings
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.inspection.runs import Run
from led_pipeline.inspection.texts import Query, find_query, passages, queries

QUANTILES = {"fewest": 0.0, "tenth": 0.1, "median": 0.5, "most": 1.0}


def open_pool(run: Run, system: str) -> Path:
    """Return the path of a system's pool.

    Raises:
        InputError: it is not there; the message names those that are.
    """
    path = Path(run.layout.pool(system))
    if not path.is_file():
        names = sorted(other.stem for other in path.parent.glob("*.parquet"))
        raise InputError(
            f"{path}: no such pool; there are {', '.join(names) or 'none'} (a system has one if a stage names it under"
            " `negatives`)"
        )
    return path


def pool_overview(run: Run, system: str) -> dict[str, Any]:
    """Return the counts of a pool, how many passages its queries have, and its manifest."""
    path = open_pool(run, system)
    lengths = np.concatenate([np.zeros(0, np.int64), *(part.passages.lengths for part in read_rankings(path))])
    note = Path(run.layout.pool_note(system))
    train = Path(run.layout.queries("train"))
    return {
        "results": str(run.folder),
        "system": system,
        "queries": len(lengths),
        "training_queries": count_rows(train) if train.is_file() else None,
        "passages": int(lengths.sum()),
        "passages_per_query": {
            name: int(np.quantile(lengths, q, method="lower")) if len(lengths) else 0 for name, q in QUANTILES.items()
        },
        "manifest": read_json(note) if note.is_file() else None,
        "first_query": asdict(pool_of_query(run, system, None)[0]) if len(lengths) else None,
    }


def pool_of_query(run: Run, system: str, name: str | None, count: int = 10) -> tuple[Query, list[dict[str, Any]]]:
    """Return a training query and the first passages of its pool, with ranks and scores.

    Args:
        name: id or row of the query; None: the first query of the pool.

    Raises:
        InputError: there is no such query, or the pool has none of its passages.
    """
    path = open_pool(run, system)
    if name is None:
        row = int(next(read_rankings(path)).queries[0])
        query = queries(run, "train", [row])[row]
    else:
        query = find_query(run, "train", name)
    ranking = list(read_ranking(path, query.row, query.row + 1))
    if not ranking:
        raise InputError(f"{path}: query '{query.qid}' has no passage in this pool; all that was ranked is judged")
    _, rows, scores = ranking[0]
    texts = passages(run, rows[:count].tolist())
    entries = [
        {"rank": rank, "score": score, **asdict(texts[row])}
        for rank, (row, score) in enumerate(zip(rows[:count].tolist(), scores[:count].tolist(), strict=True), 1)
    ]
    return query, entries

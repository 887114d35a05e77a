"""Join prepared splits into one, so that a training learns from several sets of queries over one collection.

Run as `python -m led_pipeline.data.union --names A B --queries FILE FILE --qrels FILE FILE --out-queries FILE
--out-qrels FILE --provenance FILE`.

The sets follow each other in the given order, and the provenance has the number of queries of each. Queries without a
positive are left out: an example needs one.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from led_pipeline.data.formats.judgements import load_qrels, write_qrels
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.provenance import provenance
from led_pipeline.data.tables import count_rows, read_rows, write_strings
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main

SETS = "sets"  # in the provenance: name -> queries, in the order of the rows


def join(
    names: Sequence[str], queries: Sequence[Path], qrels: Sequence[Path], outputs: tuple[Path, Path]
) -> dict[str, Any]:
    """Write the queries table and the qrels of several splits together, and return their provenance.

    Args:
        names: of the splits, which have a table of queries and TREC qrels each.
        outputs: the table and the qrels to write.

    Raises:
        InputError: two splits have the same id, or a split has no query with a positive.
    """
    grades = [load_qrels(path) for path in qrels]
    set_of: dict[str, str] = {}
    counts = dict.fromkeys(names, 0)

    def batches() -> Iterator[dict[str, list[str]]]:
        for name, table, judged in zip(names, queries, grades, strict=True):
            for rows in read_rows(table, 0, count_rows(table), ["id", "text"]):
                keep = [place for place, qid in enumerate(rows["id"]) if max(judged.get(qid, {"": 0}).values()) > 0]
                ids = [rows["id"][place] for place in keep]
                for qid in ids:
                    if (other := set_of.setdefault(qid, name)) != name:
                        raise InputError(
                            f"query '{qid}' is in the splits {other} and {name}, expected ids that differ; write the"
                            f" name of the set before the ids in its queries and judgements, such as {name}-{qid}"
                        )
                counts[name] += len(ids)
                yield {"id": ids, "text": [rows["text"][place] for place in keep]}
            if not counts[name]:
                raise InputError(f"{table}: no query of the split {name} has a positive; leave it out of the union")

    write_strings(outputs[0], batches(), ["id", "text"])
    judgements = [
        (qid, pid, grade)
        for name, judged in zip(names, grades, strict=True)
        for qid, of_query in judged.items()
        if set_of.get(qid) == name
        for pid, grade in of_query.items()
    ]
    write_qrels(outputs[1], judgements)
    read = sum(map(count_rows, queries))
    totals = Counter(queries=len(set_of), queries_read=read, judgements=len(judgements))
    totals["queries_without_positive"] = read - len(set_of)
    print(", ".join(f"{name}: {count:,} queries" for name, count in counts.items()))
    return provenance([*queries, *qrels], totals, Problems(), Repair(False)) | {SETS: counts}


def main() -> None:
    parser = argparse.ArgumentParser(description="Join prepared splits into one.")
    parser.add_argument("--names", required=True, nargs="+")
    for name in ("queries", "qrels"):
        parser.add_argument(f"--{name}", required=True, nargs="+", type=Path)
    for name in ("out-queries", "out-qrels", "provenance"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    a = parser.parse_args()
    write_json(a.provenance, join(a.names, a.queries, a.qrels, (a.out_queries, a.out_qrels)))


if __name__ == "__main__":
    run_main(main)

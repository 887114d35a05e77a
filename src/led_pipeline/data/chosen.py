"""The judgements of a split, checked against its texts, and the queries that files of ids choose."""

from collections.abc import Collection, Sequence
from pathlib import Path

from led_pipeline.data.formats.characters import look_alikes, spelled
from led_pipeline.data.formats.judgements import Judgement, read_ids
from led_pipeline.data.formats.lines import MALFORMED, Problems
from led_pipeline.data.tables import every_id, rows_of


def judgements(
    rows: Sequence[tuple[Path, Judgement]], queries: Collection[str], passages: Path, problems: Problems
) -> dict[str, dict[str, int]]:
    """Return the grades by qid and pid; a judgement without its query or passage is a defect."""
    judged = {pid for _, (_, _, pid, _) in rows}
    lost = judged - rows_of(passages, judged).keys()
    twins = {"query": look_alikes({qid for _, (_, qid, _, _) in rows} - set(queries), queries)}
    twins["passage"] = look_alikes(lost, every_id(passages))
    grades: dict[str, dict[str, int]] = {}
    for qrels, (line, qid, pid, grade) in rows:
        if qid in queries and pid not in lost:
            grades.setdefault(qid, {})[pid] = grade
            continue
        name, kind, where = (pid, "passage", "in the collection")
        if qid not in queries:
            name, kind, where = (qid, "query", "among the queries")
        fault, twin = f"{kind} {spelled(name)} is judged but not {where}", twins[kind].get(name)
        hint = f", where {spelled(twin)} is; write ids in one way" if twin else ""
        problems.add(f"qrel_without_{kind}", qrels, line, fault + (hint or ", expected its text there"))
        if twin and problems.skips(f"qrel_without_{kind}"):
            problems.note("look_alike", qrels)
    return grades


def chosen(texts: Collection[str], among: Path | None, without: Sequence[Path], problems: Problems) -> set[str] | None:
    """Return the ids of a split's queries, if files choose them: those in `among` and in none of `without`."""
    if among is None and not without:
        return None
    ids = set(texts) if among is None else set()
    for path in (*([among] if among else []), *without):
        for line, qid in read_ids(path, problems):
            if qid not in texts:
                fault = f"query {spelled(qid)} is not among the queries that it is chosen from, expected its id there"
                problems.add(MALFORMED, path, line, fault)
            elif path == among:
                ids.add(qid)
            else:
                ids.discard(qid)
    return ids

"""Prepare a dataset: published text files in, passages.parquet and one queries table and qrels per split out.

Run as `python -m led_pipeline.data.collection passages --format msmarco --collection FILE --titles FILE --skip
--out passages.parquet --provenance FILE`, then, for each split, `... split --format msmarco --queries FILE --qrels FILE
--passages passages.parquet --skip --out-queries FILE --out-qrels FILE --provenance FILE`.

With `--repair-encoding`, texts that were encoded twice are decoded (module `repair`), and the provenance counts them.
A split keeps the queries of its qrels, or all queries without qrels, in file order. The provenance counts every line
that is left out; a line with a defect stops the command unless `--skip` names that kind of defect. No output is
published before all of its input is read.

Memory for passages: 8 bytes each (module `id_table`). If an id is repeated, which is known at the end of the file, the
file is read again from its start, and memory holds the repeated ids. For a split: 1.5 kB per judged query.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from led_pipeline.data.formats.characters import is_blank, look_alikes, spelled
from led_pipeline.data.formats.judgements import Judgement, read_qrels, write_qrels
from led_pipeline.data.formats.lines import DEFECTS, Problems
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.formats.templates import MissingFieldError, Template
from led_pipeline.data.formats.texts import Text, empty, read_corpus, read_queries, read_tsv
from led_pipeline.data.formats.titles import Titles
from led_pipeline.data.id_table import IdTable
from led_pipeline.data.provenance import provenance
from led_pipeline.data.same_text import with_contents
from led_pipeline.data.selection import Selection, select
from led_pipeline.data.tables import CONTENT, ROW_GROUP, every_id, rows_of, write_strings
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main

Reader = Callable[..., Iterator[Text]]
PASSAGES: dict[str, Reader] = {"msmarco": read_tsv, "beir": read_corpus}
BY_COLUMNS = {"msmarco"}  # formats whose readers take no template: it renders their columns
QUERIES: dict[str, Reader] = {"msmarco": read_tsv, "beir": read_queries}


def read_texts(
    readers: Mapping[str, Reader], form: str, path: Path, problems: Problems, template: Template | None
) -> Iterator[Text]:
    """Read texts; with a template, those of JSON lines are rendered from the fields of a line."""
    reader = readers[form]
    return reader(path, problems) if template is None or form in BY_COLUMNS else reader(path, problems, template)


def rendered(template: Template, path: Path, columns: dict[str, list[str]]) -> list[str]:
    """Return the texts that a template renders from the columns of a tab-separated file."""
    try:
        rows = zip(*columns.values(), strict=True)
        return [template.render(dict(zip(columns, row, strict=True))) for row in rows]
    except MissingFieldError as error:
        raise InputError(f"{path}: {error}") from error


def not_blank(rows: Iterable[tuple[int, str, str]], path: Path, problems: Problems) -> tuple[list[str], list[str]]:
    """Return the ids and texts of the (line, id, text) rows whose text is not blank; blank ones are a defect."""
    ids, texts = [], []
    for line, name, text in rows:
        if is_blank(text):
            problems.add("empty_text", path, line, f"{empty(name, text)} after dataset.templates")
        else:
            ids.append(name)
            texts.append(text)
    return ids, texts


def distinct(
    rows: Iterable[Text], path: Path, problems: Problems, ids: set[str], repeated: Collection[str] | None = None
) -> Iterator[Text]:
    """Yield the texts whose id is not in `ids` yet, and add it.

    Args:
        repeated: the ids that several rows have, if they are known: only these are looked up and added.
    """
    for row in rows:
        if row[1] in ids:
            fault = f"id '{row[1]}' is on an earlier line too, expected every id once"
            problems.add("duplicate_id", path, row[0], fault)
        else:
            if repeated is None or row[1] in repeated:
                ids.add(row[1])
            yield row


class _RepeatedError(Exception):
    """Some ids of a collection come several times, and its copies were not left out."""

    def __init__(self, ids: set[str]) -> None:
        super().__init__()
        self.ids = ids


def prepare_passages(
    collection: Path,
    titles: Path | None,
    form: str,
    skip: Collection[str],
    out: Path,
    repair: Repair,
    template: Template | None = None,
) -> dict[str, Any]:
    """Write passages.parquet in file order and return its provenance.

    A passage without a title gets an empty one. A title without a passage is dropped and counted.
    """
    if titles and form == "beir":
        raise InputError("dataset.titles: a BEIR corpus holds its own titles; remove this key, or use format: msmarco")
    out.parent.mkdir(parents=True, exist_ok=True)
    write = partial(_write_passages, (collection, titles), form, skip, out, repair.method is not None, template)
    try:
        return write(set())
    except _RepeatedError as error:
        return write(error.ids)


def _write_passages(
    files: tuple[Path, Path | None],
    form: str,
    skip: Collection[str],
    out: Path,
    repairs: bool,
    template: Template | None,
    repeated: set[str],
) -> dict[str, Any]:
    """Write passages.parquet; see `prepare_passages`.

    Raises:
        _RepeatedError: ids that are not in `repeated` come several times.
    """
    collection, titles = files
    problems, repair = Problems(skip), Repair(repairs)
    counts: Counter[str] = Counter()
    all_ids = IdTable(out.parent)
    joined = Titles(titles, problems) if titles else None

    def batches() -> Iterator[dict[str, list[str] | list[int]]]:
        file_texts = read_texts(PASSAGES, form, collection, problems, template)
        rows = distinct(file_texts, collection, problems, set(), repeated)
        while batch := list(islice(rows, ROW_GROUP)):
            ids, texts = [row[1] for row in batch], [row[3] for row in batch]
            all_ids.add(ids)
            column = [joined.take(pid) for pid in ids] if joined else [row[2] for row in batch]
            counts["passages_without_title"] += column.count("")
            counts.update({"titles_of_a_dash": column.count("-")} if "-" in column else {})
            if template and form in BY_COLUMNS:
                texts = rendered(template, collection, {"id": ids, "title": column, "text": texts})
                ids, texts = not_blank(zip([row[0] for row in batch], ids, texts, strict=True), collection, problems)
                column = [""] * len(texts)
            counts["passages"] += len(ids)
            yield with_contents({"id": ids, "title": repair(column, "titles"), "text": repair(texts, "passages")})
        if copies := all_ids.repeated():
            raise _RepeatedError(copies)
        counts["titles_without_passage"] = joined.finish(all_ids) if joined else 0
        if joined and joined.read and not joined.matched:
            raise InputError(
                f"{titles}: none of its {joined.read:,} ids is in {collection}; take the titles of this collection"
            )
        # Inside the stream, so that a bad line prevents the file from being published.
        problems.check()
        if not counts["passages"]:
            raise InputError(f"{collection}: no passage in it, expected at least one; check dataset.collection")

    write_strings(out, batches(), ["id", "title", "text", CONTENT])
    record = provenance([collection, titles], counts, problems, repair)
    return record | {"titles": record["inputs"][1] if titles else None}


def judgements(
    rows: list[Judgement], qrels: Path, queries: Collection[str], passages: Path, problems: Problems
) -> dict[str, dict[str, int]]:
    """Return the grades by qid and pid; a judgement without its query or passage is a defect."""
    judged = {pid for _, _, pid, _ in rows}
    lost = judged - rows_of(passages, judged).keys()
    twins = {"query": look_alikes({qid for _, qid, _, _ in rows} - set(queries), queries)}
    twins["passage"] = look_alikes(lost, every_id(passages))
    grades: dict[str, dict[str, int]] = {}
    for line, qid, pid, grade in rows:
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


def prepare_split(
    files: tuple[Path, Path | None, Path],
    form: str,
    skip: Collection[str],
    selection: Selection,
    outputs: tuple[Path, Path],
    repair: Repair,
    template: Template | None = None,
) -> dict[str, Any]:
    """Write the queries table and the TREC qrels of one split and return their provenance.

    Args:
        files: queries, qrels (or None) and passages.parquet.
        outputs: the queries table and the qrels file, which is empty without input qrels.
    """
    queries, qrels, passages = files
    problems = Problems(skip)
    file_texts = distinct(read_texts(QUERIES, form, queries, problems, template), queries, problems, set())
    lines = [(line, qid, text) for line, qid, _, text in file_texts]
    if template and form in BY_COLUMNS:
        columns = {"id": [qid for _, qid, _ in lines], "text": [text for _, _, text in lines]}
        new_texts = rendered(template, queries, columns)
        lines = [(line, qid, text) for (line, qid, _), text in zip(lines, new_texts, strict=True)]
    texts = dict(zip(*not_blank(lines, queries, problems), strict=True))
    rows = list(read_qrels(qrels, problems)) if qrels else []
    grades = judgements(rows, qrels, texts, passages, problems) if qrels else None
    problems.check()
    selected, counts = select(texts, grades, selection)
    if not selected:
        raise InputError(f"{qrels or queries}: no query of {queries} is left, expected at least one that is judged")
    ids = [qid for qid in texts if qid in selected]
    judged = [(qid, pid, grade) for qid in ids for pid, grade in grades[qid].items()] if grades else []
    column = repair((texts[qid] for qid in ids), "queries")
    write_strings(outputs[0], [{"id": ids, "text": column}], ["id", "text"])
    write_qrels(outputs[1], judged)
    in_qrels = {qid for _, qid, _, _ in rows if qid in texts}
    counts.update(
        queries=len(ids),
        queries_read=len(texts),
        queries_that_lost_all_judgements=len(in_qrels - (grades or {}).keys()),
        judgements=len(judged),
        judgements_read=len(rows),
    )
    return provenance([queries, qrels], counts, problems, repair)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Prepare the passages or one split of a dataset.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("passages", "split"):
        command = commands.add_parser(name)
        command.add_argument("--format", choices=list(PASSAGES), required=True)
        command.add_argument("--skip", nargs="*", choices=DEFECTS, default=[], help="defects to leave out and count")
        command.add_argument("--repair-encoding", action="store_true", help="decode texts that were encoded twice")
        command.add_argument("--template", help="template of a text, with field names in braces: '{title} {text}'")
        command.add_argument(
            "--missing", choices=["error", "empty"], default="error", help="for fields that a record lacks"
        )
        command.add_argument("--provenance", type=Path, required=True)
        if name == "passages":
            command.add_argument("--collection", type=Path, required=True)
            command.add_argument("--titles", type=Path)
            command.add_argument("--out", type=Path, required=True)
        else:
            command.add_argument("--queries", type=Path, required=True)
            command.add_argument("--qrels", type=Path)
            command.add_argument("--passages", type=Path, required=True)
            command.add_argument("--positive", action="store_true", help="only queries with a grade above 0")
            command.add_argument("--limit", type=int, help="a seeded sample of this many queries")
            command.add_argument("--seed", type=int, default=42)
            command.add_argument("--held-out", type=int, default=0, help="queries of the sample that other splits have")
            command.add_argument("--out-queries", type=Path, required=True)
            command.add_argument("--out-qrels", type=Path, required=True)
    return parser


def main() -> None:
    a = _parser().parse_args()
    template = Template(a.template, a.missing) if a.template else None
    if a.command == "passages":
        record = prepare_passages(a.collection, a.titles, a.format, a.skip, a.out, Repair(a.repair_encoding), template)
    else:
        selection = Selection(a.positive, a.limit, a.seed, a.held_out)
        files, outputs = (a.queries, a.qrels, a.passages), (a.out_queries, a.out_qrels)
        record = prepare_split(files, a.format, a.skip, selection, outputs, Repair(a.repair_encoding), template)
        record["selection"] = vars(selection)
    record["template"] = a.template
    write_json(a.provenance, record)


if __name__ == "__main__":
    run_main(main)

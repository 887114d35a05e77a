"""Prepare a dataset: published text files in, passages.parquet and one queries table and qrels per split out.

Run as `python -m led_pipeline.data.collection passages --format msmarco --collection FILE --titles FILE --skip
--out passages.parquet --provenance FILE`, then, for each split, `... split --format msmarco --queries FILE --qrels FILE
--passages passages.parquet --skip --out-queries FILE --out-qrels FILE --provenance FILE`.

`--collection`, `--queries` and `--qrels` take several files, which are joined in their order, and folders that the
library `datasets` saved (module `stored`). Each file is read by its ending (module `sources`). With
`--repair-encoding`, texts that were encoded twice are decoded (module `repair`), and the provenance counts them.
A split keeps the queries of its qrels, or all queries without qrels, in file order. The provenance counts every line
that is left out; a line with a defect stops the command unless `--skip` names that kind of defect. No output is
published before all of its input is read.

Memory for passages: 8 bytes each (module `id_table`). If an id is repeated, which is known at the end of the file, the
file is read again from its start, and memory holds the repeated ids. For a split: 1.5 kB per judged query.
"""

import argparse
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from led_pipeline.data.chosen import chosen, judgements
from led_pipeline.data.formats.judgements import read_qrels, write_qrels
from led_pipeline.data.formats.lines import DEFECTS, Problems
from led_pipeline.data.formats.records import Naming
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.formats.sources import TextFormat, with_folders
from led_pipeline.data.formats.templates import Template
from led_pipeline.data.formats.titles import Titles
from led_pipeline.data.id_table import IdTable
from led_pipeline.data.joined import Joined, in_words, not_blank, read_texts, rendered
from led_pipeline.data.provenance import provenance
from led_pipeline.data.same_text import with_contents
from led_pipeline.data.selection import Selection, select
from led_pipeline.data.tables import CONTENT, ROW_GROUP, write_strings
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.dataset import Format


class _RepeatedError(Exception):
    """Some ids of a collection come several times, and its copies were not left out."""

    def __init__(self, ids: set[str]) -> None:
        super().__init__()
        self.ids = ids


def prepare_passages(
    collection: Sequence[Path],
    titles: Path | None,
    form: Format,
    skip: Collection[str],
    out: Path,
    repair: Repair,
    template: Template | None = None,
    columns: Naming = None,
) -> dict[str, Any]:
    """Write passages.parquet in the order of the files and return its provenance.

    A passage without a title gets an empty one. A title without a passage is dropped and counted.
    """
    texts, files = TextFormat(form, "passage", template, columns), with_folders(collection)
    if titles and form == "beir":
        raise InputError("dataset.titles: a BEIR corpus holds its own titles; remove this key, or use format: msmarco")
    if titles and (others := [path for path in files if not texts.two_columns(path)]):
        raise InputError(f"dataset.titles: {others[0]} may hold titles itself, expected lines `id TAB text`; remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    write = partial(_write_passages, (files, titles), texts, skip, out, repair.method is not None)
    try:
        return write(set())
    except _RepeatedError as error:
        return write(error.ids)


def _write_passages(
    files: tuple[Sequence[Path], Path | None],
    form: TextFormat,
    skip: Collection[str],
    out: Path,
    repairs: bool,
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
        for path, rows in Joined(collection, form, problems, repeated).files():
            while batch := list(islice(rows, ROW_GROUP)):
                ids, texts = [row[1] for row in batch], [row[3] for row in batch]
                all_ids.add(ids)
                column = [joined.take(pid) for pid in ids] if joined else [row[2] for row in batch]
                counts["passages_without_title"] += column.count("")
                counts.update({"titles_of_a_dash": column.count("-")} if "-" in column else {})
                if form.template and form.two_columns(path):
                    texts = rendered(form.template, path, {"id": ids, "title": column, "text": texts})
                    ids, texts = not_blank(zip([row[0] for row in batch], ids, texts, strict=True), path, problems)
                    column = [""] * len(texts)
                counts["passages"] += len(ids)
                yield with_contents({"id": ids, "title": repair(column, "titles"), "text": repair(texts, "passages")})
        if copies := all_ids.repeated():
            raise _RepeatedError(copies)
        counts["titles_without_passage"] = joined.finish(all_ids) if joined else 0
        if joined and joined.read and not joined.matched:
            raise InputError(
                f"{titles}: none of its {joined.read:,} ids is in {in_words(collection)}; take the titles of this"
                " collection"
            )
        # Inside the stream, so that a bad line prevents the file from being published.
        problems.check()
        if not counts["passages"]:
            raise InputError(f"{in_words(collection)}: no passage in it, expected some; check dataset.collection")

    write_strings(out, batches(), ["id", "title", "text", CONTENT])
    record = provenance([*collection, titles], counts, problems, repair)
    return record | {"titles": record["inputs"][-1] if titles else None}


def prepare_split(
    files: tuple[Sequence[Path], Sequence[Path], Path],
    form: Format,
    skip: Collection[str],
    selection: Selection,
    outputs: tuple[Path, Path],
    repair: Repair,
    template: Template | None = None,
    columns: Naming = None,
    ids_files: tuple[Path | None, Sequence[Path]] = (None, ()),
) -> dict[str, Any]:
    """Write the queries table and the TREC qrels of one split and return their provenance.

    Args:
        files: those of the queries, those of the qrels (or none), and passages.parquet.
        outputs: the queries table and the qrels file, which is empty without input qrels.
        ids_files: the file with the ids of the split's queries, and those with ids that other splits hold out.
    """
    queries, qrels, passages = with_folders(files[0]), with_folders(files[1]), files[2]
    problems = Problems(skip)
    texts = read_texts(queries, TextFormat(form, "query", template, columns), problems)
    read_grades: dict[str, dict[str, int]] = {}
    reader = partial(read_qrels, problems=problems, grades=read_grades, examples=form == "examples")
    rows = [(path, row) for path in qrels for row in reader(path)]
    ids = chosen(texts, *ids_files, problems)
    relevant = rows if ids is None else [(path, row) for path, row in rows if row[1] in ids or row[1] not in texts]
    grades = judgements(relevant, texts, passages, problems) if qrels else None
    problems.check()
    among = texts if ids is None else {qid: text for qid, text in texts.items() if qid in ids}
    selected, counts = select(among, grades, selection)
    if not selected:
        where = in_words(qrels or queries)
        raise InputError(f"{where}: no query of {in_words(queries)} is left, expected at least one that is judged")
    in_order = [qid for qid in texts if qid in selected]
    judged = [(qid, pid, grade) for qid in in_order for pid, grade in grades[qid].items()] if grades else []
    column = repair((texts[qid] for qid in in_order), "queries")
    write_strings(outputs[0], [{"id": in_order, "text": column}], ["id", "text"])
    write_qrels(outputs[1], judged)
    in_qrels = {row[1] for _, row in rows if row[1] in among}
    counts.update(
        queries=len(in_order),
        queries_read=len(texts),
        queries_that_lost_all_judgements=len(in_qrels - (grades or {}).keys()),
        judgements=len(judged),
        judgements_read=len(rows),
    )
    if ids is not None:
        counts["queries_not_chosen"] = len(texts) - len(among)
    inputs = [*queries, *qrels, ids_files[0], *ids_files[1]]
    return provenance(inputs, counts, problems, repair)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Prepare the passages or one split of a dataset.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("passages", "split"):
        command = commands.add_parser(name)
        command.add_argument("--format", choices=get_args(Format), required=True)
        command.add_argument("--skip", nargs="*", choices=DEFECTS, default=[], help="defects to leave out and count")
        command.add_argument("--repair-encoding", action="store_true", help="decode texts that were encoded twice")
        command.add_argument("--columns", type=json.loads, help="names of columns, as the recipe says them, in JSON")
        command.add_argument("--template", help="template of a text, with field names in braces: '{title} {text}'")
        command.add_argument(
            "--missing", choices=["error", "empty"], default="error", help="for fields that a record lacks"
        )
        command.add_argument("--provenance", type=Path, required=True)
        if name == "passages":
            command.add_argument("--collection", type=Path, nargs="+", required=True)
            command.add_argument("--titles", type=Path)
            command.add_argument("--out", type=Path, required=True)
        else:
            command.add_argument("--queries", type=Path, nargs="+", required=True)
            command.add_argument("--qrels", type=Path, nargs="+", default=[])
            command.add_argument("--ids", type=Path, help="a file with the ids of the queries to keep")
            command.add_argument("--without", type=Path, nargs="+", default=[], help="files with ids to leave out")
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
        shared = a.skip, a.out, Repair(a.repair_encoding), template, a.columns
        record = prepare_passages(a.collection, a.titles, a.format, *shared)
    else:
        selection = Selection(a.positive, a.limit, a.seed, a.held_out)
        files, outputs = (a.queries, a.qrels, a.passages), (a.out_queries, a.out_qrels)
        texts, ids_files = (Repair(a.repair_encoding), template, a.columns), (a.ids, a.without)
        record = prepare_split(files, a.format, a.skip, selection, outputs, *texts, ids_files)
        record["selection"] = vars(selection)
    record["template"] = a.template
    write_json(a.provenance, record)


if __name__ == "__main__":
    run_main(main)

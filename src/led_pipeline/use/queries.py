"""Queries: read a file of queries as the pipeline reads a split, and prepare a query that somebody typed."""

import re
import sys
from pathlib import Path

from led_pipeline.data.collection import BY_COLUMNS, QUERIES, distinct, not_blank, read_texts, rendered
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.formats.streams import on_disk, plain_name
from led_pipeline.data.formats.templates import Template
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.dataset import TEMPLATE_FIELD, Dataset


def read_queries(path: Path, dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return ids and texts of a file: JSON lines if it is called .jsonl, else `id TAB text`; compressed or not.

    Templates, repaired encoding and skipped defects are those of the recipe; skipped lines are counted on stderr.

    Raises:
        InputError: the file has a fault, or no query.
    """
    if not on_disk(path).is_file():
        raise InputError(f"{path}: no such file, expected queries in lines `id TAB text`, or JSON lines in a .jsonl")
    form = "beir" if plain_name(path).endswith(".jsonl") else "msmarco"
    templates = dataset.templates
    template = Template(templates.query, templates.missing) if templates.query else None
    problems = Problems(dataset.skip)
    rows = list(distinct(read_texts(QUERIES, form, path, problems, template), path, problems, set()))
    lines, ids, texts = ([row[0] for row in rows], [row[1] for row in rows], [row[3] for row in rows])
    if template and form in BY_COLUMNS:
        texts = rendered(template, path, {"id": ids, "text": texts})
        ids, texts = not_blank(zip(lines, ids, texts, strict=True), path, problems)
    problems.check()
    for name, kinds in problems.skipped.items():
        for kind, count in kinds.items():
            print(f"{name}: skipped {count:,} line(s) with {kind}", file=sys.stderr)
    if not ids:
        raise InputError(f"{path}: no query in it, expected lines `id TAB text`, or JSON lines in a .jsonl")
    return ids, Repair(dataset.repair_encoding)(texts, "queries")


def typed(query: str, dataset: Dataset) -> str:
    """Return a typed query as the recipe's template renders it, if that needs the text alone."""
    template = dataset.templates.query
    if template and set(re.findall(TEMPLATE_FIELD, template)) == {"text"} and query.strip():
        return Template(template).render({"text": query})
    return query

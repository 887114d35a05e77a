"""Queries: read a file of queries as the pipeline reads a split, and prepare a query that somebody typed."""

import re
import sys
from pathlib import Path

from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.formats.sources import TextFormat, with_folders
from led_pipeline.data.formats.stored import exists
from led_pipeline.data.formats.templates import Template
from led_pipeline.data.joined import read_texts
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.dataset import TEMPLATE_FIELD, Dataset


def read_queries(path: Path, dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return ids and texts of a file, read by its ending (module `records`), else `id TAB text`; compressed or not.

    Templates, repaired encoding and skipped defects are those of the recipe; skipped lines are counted on stderr.

    Raises:
        InputError: the file has a fault, or no query.
    """
    if not exists(path):
        raise InputError(f"{path}: no such file, expected queries in lines `id TAB text`, or JSON lines in a .jsonl")
    templates = dataset.templates
    template = Template(templates.query, templates.missing) if templates.query else None
    problems = Problems(dataset.skip)
    form = TextFormat("msmarco", "query", template, dataset.columns.query)
    by_id = read_texts(with_folders([path]), form, problems)
    ids, texts = list(by_id), list(by_id.values())
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

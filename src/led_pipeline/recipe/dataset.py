"""The recipe's keys under `dataset`: the sources of texts, judgements and published negatives. Imports no torch."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from led_pipeline.recipe.schema import LeftOut, Name, Positive, Score, Section, Seed, Weight

NO_QRELS = "none"  # in place of the name of a file
Defect = Literal[
    "empty_text",
    "duplicate_id",
    "bad_utf8",
    "header_line",
    "qrel_without_passage",
    "qrel_without_query",
    "run_without_passage",
    "run_without_query",
]
OF_RUNS = ("run_without_passage", "run_without_query")  # defects of runs from elsewhere

TEMPLATE_FIELD = r"\{([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)\}"  # {name}, or {outer.inner} of nested records


def _names_fields(template: str) -> str:
    if not re.search(TEMPLATE_FIELD, template) or set("{}") & set(re.sub(TEMPLATE_FIELD, "", template)):
        raise ValueError("expected field names in braces, such as '{title} {text}'")
    return template


FieldTemplate = Annotated[str, AfterValidator(_names_fields)]


def _file_names(value: Any) -> Any:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("expected the name of a file, or a list of names")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the file {twice!r} comes twice in the list, expected it once")
    return value


FileNames = Annotated[str | list[str], PlainValidator(_file_names, json_schema_input_type=str | list[str])]


def as_list(names: str | list[str] | None) -> list[str]:
    """Return the names of files as a list."""
    return [names] if isinstance(names, str) else list(names or ())


def on_disk(names: str | list[str] | None) -> list[str]:
    """Return the files that hold some files, each once: `scifact.zip` for `scifact.zip/corpus.jsonl`."""
    parts = [name.partition(".zip/") for name in as_list(names)]
    return list(dict.fromkeys(f"{before}.zip" if inside else before for before, inside, _ in parts))


class Split(Section):
    """One set of queries with its judgements; file names are relative to the dataset's folder."""

    queries: FileNames | None = None
    """A file, or a list of files that are joined. Default: queries.SPLIT.tsv, queries.jsonl for BEIR, or SPLIT.jsonl
    for examples"""
    qrels: FileNames | None = None
    """A file or a list. Default: qrels.SPLIT.tsv, qrels/SPLIT.tsv for BEIR, or the queries for examples. none: there
    are no judgements, so every system ranks the queries and writes a run, and nothing is measured."""
    ids: Annotated[str | None, LeftOut()] = None
    """a file with the ids of the queries to keep, one a line"""
    relevant_from: Positive = 1
    """the lowest grade that binary measures count as relevant (TREC DL: 2)"""
    limit: Positive | None = None
    """number of judged queries in a seeded sample; default: all queries"""
    sample_of: Name | None = None
    """the split from which `limit` queries, or those of `ids`, are held out; its files are used"""
    union_of: Annotated[list[Name], LeftOut()] = []
    """Splits whose queries and judgements are joined, instead of files; for the split train, so that stages learn from
    several sets of queries (`split_temperature`)."""


class Docstrings(Section):
    """The size of the built-in dataset, docstrings of the installed packages."""

    passages: Positive = 12_000
    """number of passages in the collection"""
    dev_queries: Positive = 1_000
    """number of queries held out from training"""
    seed: Seed = 17
    """seed of the draw of docstrings; the recipe's seed does not change the data"""


class Templates(Section):
    """Templates that render one text from the fields of a line: names in braces, nested ones with dots."""

    passage: FieldTemplate | None = None
    """default: title and text, as two segments if there is a title"""
    query: FieldTemplate | None = None
    """default: text"""
    missing: Literal["error", "empty"] = "error"
    """treat a field that a line lacks as an error, or as empty"""


def _column_names(value: Any) -> Any:
    names = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("expected a list of names, such as [id, title, text], or a mapping such as {id: pid}")
    if isinstance(value, dict) and (unknown := [str(key) for key in value if key not in OUR_COLUMNS]):
        raise ValueError(f"no column {unknown[0]!r} of ours, expected {', '.join(OUR_COLUMNS)}")
    if isinstance(value, list) and len(set(names)) < len(names):
        raise ValueError("a name comes twice in the list, expected different ones")
    if isinstance(value, list) and not {*ID_COLUMNS} & {*names}:
        raise ValueError(f"none of the columns is called id (or {', '.join(ID_COLUMNS[:-1])})")
    return value


ID_COLUMNS = ("_id", "docid", "id")  # BEIR's name, Tevatron's, and a common one
OUR_COLUMNS = ("id", "title", "text")
ColumnNames = Annotated[
    list[str] | dict[str, str],
    PlainValidator(_column_names, json_schema_input_type=list[str] | dict[Literal["id", "title", "text"], str]),
]


class Columns(Section):
    """Names of columns: a list for files without a header, or where these names are in it; or a mapping of id, title
    and text to the names in the header, of a table or of JSON lines."""

    passage: ColumnNames | None = None
    """default: id TAB text, or the header of a CSV or table"""
    query: ColumnNames | None = None
    """default: id TAB text, or the header of a CSV or table"""


class ScoreFile(Section):
    """A published file with scores of passages for the training queries; its suffix tells the format."""

    file: str
    """path relative to the folder of the dataset"""
    scale: Weight = 1.0
    """scores are multiplied by this, ..."""
    offset: Score = 0.0
    """... and this is added; scale 0 makes them constant"""


def _score_file(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


class DefaultNames(NamedTuple):
    """The files of a dataset unless the recipe names others."""

    collection: str
    queries: str
    qrels: str


Format = Literal["msmarco", "beir", "examples"]
FILES: dict[Format, DefaultNames] = {
    "msmarco": DefaultNames("collection.tsv", "queries.{split}.tsv", "qrels.{split}.tsv"),
    "beir": DefaultNames("corpus.jsonl", "queries.jsonl", "qrels/{split}.tsv"),
    "examples": DefaultNames("train.jsonl", "{split}.jsonl", "{split}.jsonl"),
}


class Dataset(Section):
    """The source and format of the texts."""

    name: Name
    """the results go to results/NAME"""
    source: Literal["docstrings", "download", "folder"]
    """the origin of the files; config/sources.yaml lists downloads"""
    format: Format = "msmarco"
    """format of the published files; examples: training examples that hold texts, {"query", "pos", "negs"} or {"query",
    "docs", "scores"}"""
    folder: str | None = None
    """for source: folder, the path of the folder or of a .zip of it, relative to the working directory"""
    collection: FileNames | None = None
    """A file, or a list of files that are joined. Default: collection.tsv, corpus.jsonl for BEIR, or the files of all
    splits for examples"""
    titles: str | None = None
    """id TAB title, or JSON lines; the choice changes results, and the report names it"""
    splits: dict[Name, Split]
    """sets of queries with judgements; stages train on the split called train"""
    negatives: dict[Name, str] = {}
    """published negatives of the training queries: system name -> file"""
    docstrings: Docstrings = Docstrings()
    """for source: docstrings"""
    max_tokens: Positive = 512
    """number of tokens of a passage in the token store; at least every passage_length"""
    shards: int = Field(1, ge=1, le=10_000)
    """Number of parts of the collection and of the training queries, one job each; no result depends on it."""
    repair_encoding: bool = False
    """decode text that was encoded twice ("cafÃ©"); published numbers are without this"""
    skip: list[Defect] = []
    """defects of published files to skip and count instead of stopping"""
    scores: dict[Name, Annotated[ScoreFile, BeforeValidator(_score_file, json_schema_input_type=str | ScoreFile)]] = {}
    """Score files, each a system to draw negatives from or to learn from as a teacher: name -> file, or a mapping."""
    runs: Annotated[dict[Name, dict[Name, str]], LeftOut()] = {}
    """Rankings that another program made, each a system: name -> split -> file (a TREC run, SPLADE's run.json, or any
    format of a score file). With source: folder, paths are relative to that folder, otherwise to the working
    directory."""
    columns: Annotated[Columns, LeftOut()] = Columns()
    """names of the columns of the collection and of the queries"""
    templates: Templates = Templates()
    """templates that render texts from the fields of JSON lines"""
    exclude_query_id: bool = False
    """for queries that are passages: the passage with the query's id is neither a result nor a negative"""

    @property
    def collection_files(self) -> list[str]:
        """The files of the passages, in order."""
        if self.collection or self.format != "examples":
            return as_list(self.collection) or [FILES[self.format].collection]
        own_files = [split for split, settings in self.splits.items() if not (settings.sample_of or settings.union_of)]
        return list(dict.fromkeys(name for split in own_files for name in self.queries_of(split)))

    def held_out(self, split: str) -> int:
        """Return the number of queries at the start of the sample's order that earlier samples of this split have."""
        source = self.splits[split].sample_of
        if source and self.splits[split].ids:
            return 0
        others = [name for name, other in self.splits.items() if other.sample_of == (source or split)]
        before = others[: others.index(split)] if source else others
        return sum(self.splits[name].limit or 0 for name in before if not self.splits[name].ids)

    def read_for(self, split: str) -> list[str]:
        """Return the splits whose files one is made from: those of a union, or itself."""
        return self.splits[split].union_of or [split]

    def queries_of(self, split: str) -> list[str]:
        """Return the files with the queries of a split, in order."""
        split = self.splits[split].sample_of or split
        return as_list(self.splits[split].queries) or [FILES[self.format].queries.format(split=split)]

    def qrels_of(self, split: str) -> list[str]:
        """Return the files with the judgements of a split; none if the recipe says that there are none."""
        split = self.splits[split].sample_of or split
        names = as_list(self.splits[split].qrels)
        if names == [NO_QRELS]:
            return []
        if self.format == "examples":
            return names or self.queries_of(split)
        return names or [FILES[self.format].qrels.format(split=split)]

    def ids_of(self, split: str) -> list[str]:
        """Return the file with the ids of a split's queries, if it has one."""
        return as_list(self.splits[split].ids)

    def ids_without(self, split: str) -> list[str]:
        """Return the files with the ids that other splits hold out from the same queries."""
        source = self.splits[split].sample_of or split
        if self.splits[split].ids and self.splits[split].sample_of:
            return []
        return [s.ids for name, s in self.splits.items() if name != split and s.sample_of == source and s.ids]

    def judged(self, splits: Iterable[str]) -> list[str]:
        """Return those of some splits that have judgements."""
        return [name for name in splits if all(self.qrels_of(part) for part in self.read_for(name))]

"""The recipe's keys under `dataset`: the sources of texts, judgements and published negatives. Imports no torch."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

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


class Split(Section):
    """One set of queries with its judgements; file names are relative to the dataset's folder."""

    queries: str | None = None
    """default: queries.SPLIT.tsv, or queries.jsonl for BEIR"""
    qrels: str | None = None
    """Default: qrels.SPLIT.tsv, or qrels/SPLIT.tsv for BEIR. none: there are no judgements, so every system ranks the
    queries and writes a run, and nothing is measured."""
    relevant_from: Positive = 1
    """the lowest grade that binary measures count as relevant (TREC DL: 2)"""
    limit: Positive | None = None
    """number of judged queries in a seeded sample; default: all queries"""
    sample_of: Name | None = None
    """the split from which `limit` queries are held out; its files are used"""
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


class FileNames(NamedTuple):
    """The files of a dataset unless the recipe names others."""

    collection: str
    queries: str
    qrels: str


Format = Literal["msmarco", "beir"]
FILES: dict[Format, FileNames] = {
    "msmarco": FileNames("collection.tsv", "queries.{split}.tsv", "qrels.{split}.tsv"),
    "beir": FileNames("corpus.jsonl", "queries.jsonl", "qrels/{split}.tsv"),
}


class Dataset(Section):
    """The source and format of the texts."""

    name: Name
    """the results go to results/NAME"""
    source: Literal["docstrings", "download", "folder"]
    """the origin of the files; config/sources.yaml lists downloads"""
    format: Format = "msmarco"
    """format of the published files"""
    folder: str | None = None
    """for source: folder, the path of the folder or of a .zip of it, relative to the working directory"""
    collection: str | None = None
    """default: collection.tsv, or corpus.jsonl for BEIR"""
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
    templates: Templates = Templates()
    """templates that render texts from the fields of JSON lines"""
    exclude_query_id: bool = False
    """for queries that are passages: the passage with the query's id is neither a result nor a negative"""

    @property
    def collection_file(self) -> str:
        return self.collection or FILES[self.format].collection

    def held_out(self, split: str) -> int:
        """Return the number of queries at the start of the sample's order that earlier samples of this split have."""
        source = self.splits[split].sample_of
        others = [name for name, other in self.splits.items() if other.sample_of == (source or split)]
        before = others[: others.index(split)] if source else others
        return sum(self.splits[name].limit or 0 for name in before)

    def read_for(self, split: str) -> list[str]:
        """Return the splits whose files one is made from: those of a union, or itself."""
        return self.splits[split].union_of or [split]

    def queries_of(self, split: str) -> str:
        split = self.splits[split].sample_of or split
        return self.splits[split].queries or FILES[self.format].queries.format(split=split)

    def qrels_of(self, split: str) -> str | None:
        """Return the file with the judgements of a split; None if the recipe says that there are none."""
        split = self.splits[split].sample_of or split
        name = self.splits[split].qrels or FILES[self.format].qrels.format(split=split)
        return None if name == NO_QRELS else name

    def judged(self, splits: Iterable[str]) -> list[str]:
        """Return those of some splits that have judgements."""
        return [name for name in splits if all(self.qrels_of(part) is not None for part in self.read_for(name))]

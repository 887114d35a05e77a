"""The recipe's keys under `dataset`: where texts, judgements and published negatives come from. Imports no torch."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from led_pipeline.recipe.schema import Name, Positive, Score, Section, Seed, Weight

Defect = Literal["empty_text", "duplicate_id", "bad_utf8", "header_line", "qrel_without_passage", "qrel_without_query"]


TEMPLATE_FIELD = r"\{([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)\}"  # {name}, or {outer.inner} of nested records


def _names_fields(template: str) -> str:
    if not re.search(TEMPLATE_FIELD, template) or set("{}") & set(re.sub(TEMPLATE_FIELD, "", template)):
        raise ValueError("expected field names in braces, such as '{title} {text}'")
    return template


FieldTemplate = Annotated[str, AfterValidator(_names_fields)]


class Split(Section):
    """One set of queries with its judgements; file names are relative to the dataset's folder."""

    queries: str | None = None
    """unless given: queries.SPLIT.tsv, or queries.jsonl for BEIR"""
    qrels: str | None = None
    """unless given: qrels.SPLIT.tsv, or qrels/SPLIT.tsv for BEIR"""
    relevant_from: Positive = 1
    """the lowest grade that binary measures count as relevant (TREC DL: 2)"""
    limit: Positive | None = None
    """a seeded sample of this many judged queries"""
    sample_of: Name | None = None
    """the split whose queries these `limit` are taken out of, with its files"""


class Docstrings(Section):
    """How much of the embedded data to take: docstrings of the installed packages."""

    passages: Positive = 12_000
    """of the collection"""
    dev_queries: Positive = 1_000
    """held out of the training"""
    seed: Seed = 17
    """which docstrings; the recipe's seed does not change the data"""


class Templates(Section):
    """How one text is made of the fields of a line, by their names in braces; nested ones with dots."""

    passage: FieldTemplate | None = None
    """unless given: title and text, as two segments where there is a title"""
    query: FieldTemplate | None = None
    """unless given: text"""
    missing: Literal["error", "empty"] = "error"
    """what a field that a line does not have is taken for"""


class ScoreFile(Section):
    """Scores of the train queries' passages that somebody computed; the ending says the format."""

    file: str
    """relative to the folder of the dataset"""
    scale: Weight = 1.0
    """scores are multiplied by this, ..."""
    offset: Score = 0.0
    """... and this is added; scale 0 makes them constant"""


def _score_file(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


class Dataset(Section):
    """Where the text comes from and in which format it is."""

    name: Name
    """results go to results/NAME"""
    source: Literal["docstrings", "download", "folder"]
    """download: see config/sources.yaml"""
    format: Literal["msmarco", "beir"] = "msmarco"
    """of the published files"""
    folder: str | None = None
    """source: folder, or a .zip of one; relative paths start at the working directory"""
    collection: str | None = None
    """unless given: collection.tsv, or corpus.jsonl for BEIR"""
    titles: str | None = None
    """id TAB title, or JSON lines; the choice changes results, and the report names it"""
    splits: dict[Name, Split]
    """sets of queries with judgements; that to train on is called train"""
    negatives: dict[Name, str] = {}
    """published negatives of the train queries: system name -> file"""
    docstrings: Docstrings = Docstrings()
    """source: docstrings"""
    max_tokens: Positive = 512
    """what the token store keeps of a passage, at least every passage_length"""
    shards: int = Field(1, ge=1, le=10_000)
    """Parts of the collection and of the training queries, a job each; no result depends on it."""
    repair_encoding: bool = False
    """decode text that was encoded twice ("cafÃ©"); published numbers are without"""
    skip: list[Defect] = []
    """known defects of a published file to skip and count instead of stopping"""
    scores: dict[Name, Annotated[ScoreFile, BeforeValidator(_score_file, json_schema_input_type=str | ScoreFile)]] = {}
    """A system of that name, to take negatives from and to learn from as a teacher: name -> file, or its mapping."""
    templates: Templates = Templates()
    """which fields of JSON lines make a text"""
    exclude_query_id: bool = False
    """queries are passages: the one with a query's id is no result and no negative"""

    @property
    def collection_file(self) -> str:
        return self.collection or {"msmarco": "collection.tsv", "beir": "corpus.jsonl"}[self.format]

    def held_out(self, split: str) -> int:
        """Return how many queries, first in the sample's order, other splits have of the files of this one."""
        own = self.splits[split].sample_of
        others = [name for name, other in self.splits.items() if other.sample_of == (own or split)]
        before = others[: others.index(split)] if own else others
        return sum(self.splits[name].limit or 0 for name in before)

    def queries_of(self, split: str) -> str:
        split = self.splits[split].sample_of or split
        return self.splits[split].queries or {"msmarco": f"queries.{split}.tsv", "beir": "queries.jsonl"}[self.format]

    def qrels_of(self, split: str) -> str:
        split = self.splits[split].sample_of or split
        return self.splits[split].qrels or {"msmarco": f"qrels.{split}.tsv", "beir": f"qrels/{split}.tsv"}[self.format]

"""The recipe's keys under `dataset`: where texts, judgements and published negatives come from. Imports no torch."""

from typing import Literal

from led_pipeline.recipe_schema import Name, Positive, Section

Defect = Literal["empty_text", "duplicate_id", "bad_utf8", "qrel_without_passage", "qrel_without_query"]


class Split(Section):
    """One set of queries with its judgements; file names are relative to the dataset's folder."""

    queries: str | None = None  # unless given: queries.SPLIT.tsv, or queries.jsonl for BEIR
    qrels: str | None = None  # unless given: qrels.SPLIT.tsv, or qrels/SPLIT.tsv for BEIR
    relevant_from: Positive = 1  # the lowest grade that binary measures count as relevant (TREC DL: 2)
    limit: Positive | None = None  # a seeded sample of this many judged queries


class Docstrings(Section):
    """How much of the embedded data to take: docstrings of the installed packages."""

    passages: Positive = 12_000  # of the collection
    dev_queries: Positive = 1_000  # held out of the training
    seed: int = 17  # which docstrings; the recipe's seed does not change the data


class Dataset(Section):
    """Where the text comes from and in which format it is."""

    name: Name  # results go to results/NAME
    source: Literal["docstrings", "download", "folder"]  # download: see config/sources.yaml
    format: Literal["msmarco", "beir"] = "msmarco"  # of the published files
    folder: str | None = None  # source: folder; relative paths start at the working directory
    collection: str | None = None  # unless given: collection.tsv, or corpus.jsonl for BEIR
    titles: str | None = None  # id TAB title, or JSON lines; which one changes results and stands in the report
    splits: dict[Name, Split]  # sets of queries with judgements; that to train on is called train
    negatives: dict[Name, str] = {}  # published negatives of the train queries: system name -> file
    docstrings: Docstrings = Docstrings()  # source: docstrings
    max_tokens: Positive = 512  # what the token store keeps of a passage, at least every passage_length
    shards: Positive = 1  # parts of the collection and of the training queries, a job each; no result depends on it
    repair_encoding: bool = False  # decode text that was encoded twice ("cafÃ©"); published numbers are without
    skip: list[Defect] = []  # known defects of a published file to skip and count instead of stopping

    @property
    def collection_file(self) -> str:
        return self.collection or {"msmarco": "collection.tsv", "beir": "corpus.jsonl"}[self.format]

    def queries_of(self, split: str) -> str:
        return self.splits[split].queries or {"msmarco": f"queries.{split}.tsv", "beir": "queries.jsonl"}[self.format]

    def qrels_of(self, split: str) -> str:
        return self.splits[split].qrels or {"msmarco": f"qrels.{split}.tsv", "beir": f"qrels/{split}.tsv"}[self.format]

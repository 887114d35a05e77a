"""Needs: what a stage or system takes from others, by name, and the files that its jobs wait for. Imports no torch.

The functions at the top are the edges of the recipe's graph, the only ones: the order of stages, the rules' inputs, the
plan's counts and the report's picture all ask them. `Files` turns edges into paths.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from led_pipeline.recipe.dataset import on_disk
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import VECTOR_SUFFIX, Layout
from led_pipeline.recipe.parts import depth_of as depth_of
from led_pipeline.recipe.parts import part_of as part_of
from led_pipeline.recipe.parts import parts as parts
from led_pipeline.recipe.parts import query_parts as query_parts
from led_pipeline.recipe.parts import shard_of as shard_of
from led_pipeline.recipe.parts import split_of as split_of
from led_pipeline.recipe.parts import train_jobs as train_jobs
from led_pipeline.recipe.parts import validation_part as validation_part
from led_pipeline.recipe.parts import validation_ranking as validation_ranking
from led_pipeline.recipe.parts import whole_parts as whole_parts
from led_pipeline.recipe.schema import QRELS
from led_pipeline.recipe.scorers import CANDIDATES, judges, stage_of_set
from led_pipeline.recipe.scorers import teachers as teachers
from led_pipeline.recipe.stages import MaskedLm, Pretrain, Ranker, Retriever

Kind = Literal[
    "init", "query_init", "tokenizer", "negatives", "positives", "judge", "teacher", "validation", "candidates", "fused"
]


@dataclass(frozen=True)
class Edge:
    """What a stage or a fusion takes from a stage, a system, a model of the hub or a folder."""

    source: str
    kind: Kind
    label: str = ""  # a remark for readers


def edges(recipe: Recipe, name: str) -> list[Edge]:
    """Return what a stage or a system takes from others, each kind in the order of the recipe."""
    if fusion := recipe.fusion.get(name):
        labels = [f"{weight:g} ×" if fusion.weights else "" for weight in fusion.weight_of]
        return [Edge(system, "fused", label) for system, label in zip(fusion.systems, labels, strict=True)]
    stage = recipe.stages.get(name)
    if stage is None or isinstance(stage, Pretrain):
        return []
    incoming = [Edge(stage.init, "init")]
    if query_init := query_init_of(recipe, name):
        incoming.append(Edge(query_init, "query_init"))
    incoming.append(Edge(recipe.tokenizer_of(name), "tokenizer"))
    if isinstance(stage, MaskedLm):
        return incoming
    if stage.train:
        incoming += [Edge(system, "negatives") for system in stage.negative_systems]
        if stage.more_positives:
            incoming.append(Edge(stage.more_positives.scores, "positives"))
        if stage.judge:
            incoming += [Edge(system, "judge", f"margin {stage.judge.margin:g}") for system in stage.judge.systems]
        for teacher in stage.teachers:
            label = f"{teacher.loss} × {teacher.weight_in_words}"
            incoming += [Edge(system, "teacher", label) for system in teacher.systems]
    if recipe.validation and recipe.validates(name):
        incoming.append(Edge(recipe.validation.system, "validation"))
    if isinstance(stage, Ranker):
        incoming.append(Edge(stage.rerank.system, "candidates", f"first {stage.rerank.depth}"))
    return list(dict.fromkeys(incoming))


def parents(recipe: Recipe, name: str) -> set[str]:
    """Return the stages and fusions that a stage or fusion takes something from."""
    return {edge.source for edge in edges(recipe, name)} & {*recipe.stages, *recipe.fusion}


def ordered(recipe: Recipe) -> list[str]:
    """Return the stages and fusions, each after those it needs, otherwise as the config lists them, stages first."""
    parents_of = {name: parents(recipe, name) for name in (*recipe.stages, *recipe.fusion)}
    done: list[str] = []
    while len(done) < len(parents_of):
        done.append(next(name for name in parents_of if name not in done and parents_of[name] <= set(done)))
    return done


def order(recipe: Recipe) -> list[str]:
    """Return the stages, each after those it needs, otherwise as the config lists them."""
    return [name for name in ordered(recipe) if name in recipe.stages]


def systems(recipe: Recipe) -> list[str]:
    """Return everything that ranks: BM25, runs from elsewhere, stages and fusions in order, and variants of stages."""
    ranking = [name for name in ordered(recipe) if name not in recipe.rankless]
    return ["bm25", *recipe.dataset.runs, *ranking, *recipe.variants]


def ranks(recipe: Recipe, system: str, split: str) -> bool:
    """Return whether a system ranks the queries of a split: not where a run that it is made of has no file for it."""
    if system in recipe.dataset.runs:
        return split in recipe.dataset.runs[system]
    return all(ranks(recipe, e.source, split) for e in edges(recipe, system) if e.kind in ("candidates", "fused"))


def evaluated(recipe: Recipe) -> list[tuple[str, str]]:
    """Return the system and split of every run that `led_final` writes; those of judged splits are measured."""
    pairs = [(system, split) for system in systems(recipe) for split in recipe.evaluation.splits]
    return [(system, split) for system, split in pairs if ranks(recipe, system, split)]


def stage_of(recipe: Recipe, system: str) -> str:
    """Return the dense stage that a variant's vectors come from; a stage itself."""
    return recipe.variants[system].of if system in recipe.variants else system


def timed(recipe: Recipe) -> list[str]:
    """Return the systems whose searches are timed query by query: not runs from elsewhere, nor what is made of them."""
    if not (recipe.evaluation.timed_queries and recipe.evaluation.splits):
        return []
    elsewhere = set(recipe.dataset.runs)
    for name in ordered(recipe):
        elsewhere |= {name for e in edges(recipe, name) if e.kind in ("candidates", "fused") and e.source in elsewhere}
    return [system for system in systems(recipe) if system not in elsewhere]


def sources(recipe: Recipe, stages: Collection[str], *kinds: Kind) -> list[str]:
    """Return what some stages take by some kinds of edges, each once, in order."""
    return list(dict.fromkeys(e.source for stage in stages for e in edges(recipe, stage) if e.kind in kinds))


def query_init_of(recipe: Recipe, name: str) -> str | None:
    """Return what a stage's own query encoder starts from, where the recipe says so."""
    stage = recipe.stages[name]
    return stage.query_init if isinstance(stage, Retriever) else None


def tokenizers(recipe: Recipe) -> list[str]:
    """Return the tokenizers that the recipe names, each once."""
    return list(dict.fromkeys([recipe.tokenizer, *map(recipe.tokenizer_of, recipe.stages)]))


@dataclass(frozen=True)
class Files:
    """The files that jobs wait for, as paths."""

    recipe: Recipe
    layout: Layout
    hub: Collection[str]  # names of models and tokenizers that come from a hub
    tokenizers: Mapping[str, str]  # name of a tokenizer -> folder of its tokens

    # --- the dataset

    def source(self, name: str) -> str:
        """Return a file of the dataset: in the user's folder, or in source/ if it is downloaded or made."""
        folder = self.recipe.dataset.folder if self.recipe.dataset.source == "folder" else None
        return os.path.join(folder, name) if folder else self.layout.source(name)  # noqa: PTH118 (as the user wrote it)

    def sources(self, names: Iterable[str]) -> list[str]:
        """Return files of the dataset, in order."""
        return [self.source(name) for name in names]

    def source_inputs(self, names: str | list[str] | None) -> list[str]:
        """Return the files of the dataset to wait for, if a rule makes them; the contents of the user's are params."""
        return self.sources(on_disk(names)) if self.recipe.dataset.source != "folder" else []

    def run_file(self, system: str, part: str) -> str:
        """Return the file of a run from elsewhere: in the dataset's folder, or as the recipe names it."""
        name = self.recipe.dataset.runs[system][split_of(part)]
        return self.source(name) if self.recipe.dataset.source == "folder" else name

    # --- models and tokens

    def model(self, name: str) -> str:
        """Return the path that a name means: a stage's folder, the hub model's, or itself."""
        if name in self.recipe.stages:
            return self.layout.model(name)
        return self.layout.hub(name) if name in self.hub else name

    def model_inputs(self, name: str | None) -> list[str]:
        """Return the folder of a model or tokenizer to wait for; none if the name is a path."""
        return [self.model(name)] if name and (name in self.recipe.stages or name in self.hub) else []

    def passage_tokens(self, stage: str) -> list[str]:
        """Return the token files of the collection for a stage's tokenizer, by shard."""
        folder = self.tokenizers[self.recipe.tokenizer_of(stage)]
        return [self.layout.passage_tokens(folder, shard) for shard in range(self.recipe.dataset.shards)]

    def query_tokens(self, stage: str, split: str) -> str:
        return self.layout.query_tokens(self.tokenizers[self.recipe.tokenizer_of(stage)], split)

    def idf_passages(self, stage: str) -> list[str]:
        """Return the token files that a stage's table of query weights is computed from, if it is."""
        counted = getattr(self.recipe.stages[stage], "idf", None) == "collection"
        return self.passage_tokens(stage) if counted else []

    # --- vectors and rankings

    def _suffix(self, stage: str) -> str:
        return VECTOR_SUFFIX["dense" if self.recipe.stages[stage].output == "dense" else "sparse"]

    def passage_vectors(self, stage: str) -> list[str]:
        suffix = self._suffix(stage)
        return [self.layout.passage_vectors(stage, shard, suffix) for shard in range(self.recipe.dataset.shards)]

    def query_vectors(self, stage: str, split: str) -> str:
        return self.layout.query_vectors(stage, split, self._suffix(stage))

    def sparse_vectors(self, system: str, split: str) -> dict[str, str | list[str]]:
        """Return the vectors whose sparsity is measured."""
        if system not in self.recipe.with_output("sparse"):
            return {}
        return {"query_vectors": self.query_vectors(system, split), "passage_vectors": self.passage_vectors(system)}

    def train_ranking_parts(self, system: str) -> list[str]:
        return [self.layout.ranking(system, part) for part in query_parts(self.recipe, "train", system)]

    def fused(self, fusion: str, part: str) -> list[str]:
        """Return the rankings that a fusion is made of, in its order."""
        names = self.recipe.fusion[fusion].systems
        return [self.layout.ranking(name, part_of(self.recipe, name, part)) for name in names]

    def candidates(self, ranker: str, split: str) -> str:
        """Return the ranking that a ranker re-ranks."""
        (system,) = sources(self.recipe, [ranker], "candidates")
        return self.layout.ranking(system, split)

    def evaluations(self) -> list[str]:
        """Return the measures of all systems on all evaluated splits; of a split without judgements, the runs."""
        judged = self.recipe.dataset.judged(self.recipe.evaluation.splits)
        return [
            self.layout.measures(system, split) if split in judged else self.layout.run(system, split)
            for system, split in evaluated(self.recipe)
        ]

    def query_times(self) -> list[str]:
        """Return the times per query of the systems that are timed, if the recipe asks for them."""
        return [self.layout.query_time(system) for system in timed(self.recipe)]

    # --- trainings

    def pools(self, stage: str) -> list[str]:
        """Return the pool of each source of negatives; that of one system may come several times."""
        return [self.layout.pool(system) for system in self.recipe.model_stage(stage).negative_systems]

    def only_scored(self, stage: str) -> list[str]:
        """Return the stored scores that negatives must have, if a stage asks for that."""
        scoring = [*teachers(self.recipe, stage, in_batch=False), *judges(self.recipe, stage)]
        names = dict.fromkeys(scoring) if self.recipe.model_stage(stage).only_scored else []
        return [self.layout.ranking(name, "train") for name in names if name in self.recipe.dataset.scores]

    def dropped(self, stage: str) -> list[str]:
        """Return the candidates that a judge leaves out, if the stage has one."""
        return [self.layout.dropped(stage)] if self.recipe.model_stage(stage).judge else []

    def sets(self, stage: str) -> list[str]:
        """Return the note about the sets of training queries, if the batches of a stage have queries of one each."""
        separate = self.recipe.model_stage(stage).split_temperature is not None
        return [self.layout.prepared_note("train")] if separate else []

    def more_positives(self, stage: str) -> list[str]:
        """Return the stored scores that make further positives, if a stage asks for that."""
        return [self.layout.ranking(name, "train") for name in sources(self.recipe, [stage], "positives")]

    def score_columns(self, stage: str) -> dict[str, list[str]]:
        """Return every teacher's scores of a stage's drawn passages, by shard; the judges' of a set of candidates."""
        shards = range(self.recipe.dataset.shards)
        judged = stage.endswith(CANDIDATES)
        names = judges(self.recipe, stage_of_set(stage)) if judged else teachers(self.recipe, stage, in_batch=False)
        return {name: [self.layout.scores(stage, name, shard) for shard in shards] for name in names}

    def stored_scores(self, system: str) -> list[str]:
        """Return the ranking that a score file became; none for grades."""
        return [self.layout.ranking(system, "train")] if system in self.recipe.dataset.scores else []

    def judged(self, system: str) -> dict[str, str]:
        """Return the files that say the grades, by the option that takes each; none for a score file."""
        qrels, queries = self.layout.qrels("train"), self.layout.queries("train")
        files = {"--qrels": qrels, "--queries": queries, "--passages": self.layout.passages}
        return files if system == QRELS else {}

    def batch_vectors(self, stage: str) -> dict[str, list[str]]:
        """Return the vectors of each teacher that scores whole batches: of the train queries, then of the passages."""
        names = teachers(self.recipe, stage, in_batch=True)
        return {name: [self.query_vectors(name, "train"), *self.passage_vectors(name)] for name in names}

    def validation(self, stage: str) -> dict[str, str | list[str]]:
        """Return what re-ranking a few queries during training needs, by input; nothing for a stage without it."""
        if not (self.recipe.validation and self.recipe.validates(stage)):
            return {}
        split, layout = self.recipe.validation.split, self.layout
        ranking = validation_ranking(self.recipe, stage)
        files: dict[str, str | list[str]] = {"validation_ranking": layout.ranking(*ranking)} if ranking else {}
        return files | {
            "validation_queries": self.query_tokens(stage, split),
            "validation_qrels": layout.qrels(split),
            "validation_ids": [layout.queries(split), layout.passages],
        }

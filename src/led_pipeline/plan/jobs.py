"""Jobs: which files a recipe needs beyond its models, and how many jobs of each rule make them.

The rules say the same to Snakemake; a test holds the two against each other.
"""

from collections import Counter
from dataclasses import dataclass

from led_pipeline.fetch.hub import hub_models
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS
from led_pipeline.recipe.stages import Trained


@dataclass(frozen=True)
class Needs:
    """What `led_final` needs: rankings, query vectors and passage vectors, as sets of (system, split).

    `validation` is what the trainings are validated on where it is a ranking of its own, with a depth of its own.
    """

    trained: list[str]
    mined: list[str]  # systems whose training ranking becomes a pool
    published: list[str]  # published negatives that are used
    rankings: set[tuple[str, str]]
    validation: set[tuple[str, str]]
    query_vectors: set[tuple[str, str]]
    vectors: list[str]  # stages whose passage vectors are needed
    splits: list[str]
    stored: list[str]  # score files that are used, as negatives or as teachers
    stored_pools: list[str]  # those of them that negatives are drawn from
    graded: bool  # whether the judged passages are a pool

    @classmethod
    def of(cls, recipe: Recipe) -> "Needs":
        trained = [n for n, s in recipe.stages.items() if isinstance(s, Trained) and s.train]
        negatives = dict.fromkeys(name for stage in trained for name in recipe.stages[stage].negative_systems)
        published = [name for name in negatives if name in recipe.dataset.negatives]
        taught = {teacher for stage in trained for teacher in teachers(recipe, stage)}
        taught |= {more.scores for stage in trained if (more := recipe.stages[stage].more_positives)}
        stored = [name for name in recipe.dataset.scores if name in taught or name in negatives]
        pools = [name for name in stored if name in negatives]
        mined = [name for name in negatives if name not in [*published, *pools, QRELS]]
        rankings = {(system, split) for system in recipe.systems for split in recipe.evaluation.splits}
        rankings |= {(system, "train") for system in mined}
        rankers = set(recipe.names("ranker"))
        validation: set[tuple[str, str]] = set()
        if any(map(recipe.validates_by_search, recipe.stages)):
            system, split = recipe.validation.system, recipe.validation.split
            (rankings if system in rankers else validation).add((system, split))
        while more := {(recipe.stages[n].rerank.system, split) for n, split in rankings if n in rankers} - rankings:
            rankings |= more
        retrievers = recipe.retrievers
        query_vectors = {(name, split) for name, split in rankings | validation if name in retrievers}
        query_vectors |= {(t, "train") for stage in trained for t in teachers(recipe, stage) if t in retrievers}
        query_vectors |= {(t, "train") for stage in trained for t in recipe.teachers(stage, in_batch=True)}
        vectors = [name for name in retrievers if any(name == n for n, _ in query_vectors)]
        used = {split for _, split in rankings | validation | query_vectors} | ({"train"} if trained else set())
        used |= {recipe.validation.split for stage in trained if recipe.validates(stage)}
        splits = [split for split in recipe.dataset.splits if split in used]
        graded = QRELS in negatives
        return cls(
            trained, mined, published, rankings, validation, query_vectors, vectors, splits, stored, pools, graded
        )


def teachers(recipe: Recipe, stage: str) -> list[str]:
    """Return the systems whose scores of its trainset's passages a stage learns from, each once."""
    return recipe.teachers(stage, in_batch=False)


def token_files(recipe: Recipe, needs: Needs) -> tuple[set[str], set[tuple[str, str]]]:
    """Return the tokenizers that the passages are cut with, and the (tokenizer, split) of the queries."""
    rankers = recipe.names("ranker")
    passages, queries = set(needs.vectors), set(needs.query_vectors)
    for stage in needs.trained:
        passages.add(stage)
        queries.add((stage, "train"))
        if recipe.validates(stage):
            queries.add((stage, recipe.validation.split))
        scoring = [teacher for teacher in teachers(recipe, stage) if teacher in rankers]
        passages |= set(scoring)
        queries |= {(teacher, "train") for teacher in scoring}
    for name, split in needs.rankings:
        if name in rankers:
            passages.add(name)
            queries.add((name, split))
    return {recipe.tokenizer_of(n) for n in passages}, {(recipe.tokenizer_of(n), split) for n, split in queries}


def source_files(recipe: Recipe, needs: Needs) -> list[str]:
    """Return the files of the dataset that are read, by their names in its folder."""
    dataset = recipe.dataset
    names = [dataset.collection_file, dataset.titles]
    names += [name for split in needs.splits for name in (dataset.queries_of(split), dataset.qrels_of(split))]
    names += [dataset.negatives[name] for name in needs.published]
    names += [dataset.scores[name].file for name in needs.stored]
    return [name for name in dict.fromkeys(names) if name]


def families(recipe: Recipe) -> dict[str, str]:
    """Return the family of every system and teacher: a stage's own, bm25, or stored for scores that are there."""
    own = {name: stage.family for name, stage in recipe.stages.items()}
    return own | {"bm25": "bm25", QRELS: "stored"} | dict.fromkeys(recipe.dataset.scores, "stored")


def count_jobs(recipe: Recipe) -> Counter[str]:
    """Return the number of jobs of each rule behind `led_final` when nothing is there yet."""
    needs, shards = Needs.of(recipe), recipe.dataset.shards
    passages, queries = token_files(recipe, needs)
    family = families(recipe)
    ranked = Counter[str]()
    for name, split in needs.rankings:  # the training queries are searched by shard
        ranked[family[name]] += shards if split == "train" and family[name] != "ranker" else 1
    ranked.update(family[name] for name, _ in needs.validation)
    taught = Counter(family[t] for stage in needs.trained for t in teachers(recipe, stage))
    evaluated = len(recipe.systems) * len(recipe.evaluation.splits)
    imported = [n for n, s in recipe.stages.items() if isinstance(s, Trained) and not s.train]
    source = recipe.dataset.source
    jobs = {
        "preflight": 1,
        "fetch_model": len(hub_models(recipe)),
        "docstrings": int(source == "docstrings"),
        "download": len(source_files(recipe, needs)) if source == "download" else 0,
        "prepare_passages": 1,
        "prepare_split": len(needs.splits),
        "tokenise_passages": len(passages) * shards,
        "tokenise_queries": len(queries),
        "bm25_index": int(ranked["bm25"] > 0),
        "bm25_search": ranked["bm25"],
        "published_pool": len(needs.published) + needs.graded,
        "store_scores": len(needs.stored),
        "pool": len(needs.mined) + len(needs.stored_pools),
        "draw": len(needs.trained),
        "score_with_vectors": (taught["dense"] + taught["lexicon"]) * shards,
        "score_with_ranker": taught["ranker"] * shards,
        "score_with_stored": taught["stored"] * shards,
        "trainset": len(needs.trained),
        "pretrain": len(recipe.names("pretrain")),
        "import_model": len(imported),
        "train": len(needs.trained),
        "encode_passages": len(needs.vectors) * shards,
        "encode_queries": len(needs.query_vectors),
        "impact_index": len({n for n, _ in needs.rankings | needs.validation if family[n] == "lexicon"}),
        "impact_search": ranked["lexicon"],
        "dense_search": ranked["dense"],
        "join_ranking": sum(s == "train" and family[n] != "ranker" for n, s in needs.rankings) if shards > 1 else 0,
        "rerank": ranked["ranker"],
        "run_file": evaluated,
        "measure": evaluated,
        "resolved_recipe": 1,
        "report": 1,
        "gate": int(recipe.evaluation.gate),
        "led_final": 1,
    }
    return Counter({rule: count for rule, count in jobs.items() if count})

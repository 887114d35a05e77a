"""Jobs: which files a recipe needs beyond its models, and how many jobs of each rule make them.

It follows the edges in `recipe/needs` from the targets of `led_final`, as Snakemake does through the rules; a test
compares the counts of both.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.fetch.hub import hub_models
from led_pipeline.recipe import needs, scorers
from led_pipeline.recipe.dataset import on_disk
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS

UNDIVIDED = ("scores", "run")  # outputs of systems that rank the training queries at once, not by shard

TIMED = {  # output of a system -> the rule that times its searches
    "bm25": "bm25_query_time",
    "sparse": "impact_query_time",
    "dense": "query_time",
    "variant": "query_time",
    "fusion": "fusion_query_time",
    "scores": "ranker_query_time",
}


@dataclass(frozen=True)
class Demand:
    """What `led_final` needs: rankings, query vectors and passage vectors, as sets of (system, split).

    `validation` is what the trainings are validated on if it is a ranking of its own, with a depth of its own.
    """

    joined: set[str]  # systems whose ranking of the training queries is needed as one file
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
    def of(cls, recipe: Recipe) -> "Demand":
        trained, dataset = recipe.trained, recipe.dataset
        negatives = needs.sources(recipe, trained, "negatives")
        scored = needs.sources(recipe, trained, "negatives", "positives", "judge", "teacher")
        pools = [name for name in dataset.scores if name in negatives]
        mined = [name for name in negatives if name not in (*dataset.negatives, *dataset.scores, QRELS)]
        taught = needs.sources(recipe, trained, "judge", "teacher")
        rankings, validation, joined = _rankings(recipe, mined, [name for name in taught if name in recipe.fusion])
        searched = rankings | validation
        query_vectors = {(name, split) for name, split in searched if name in recipe.retrievers}
        query_vectors |= {(name, "train") for name in taught if name in recipe.retrievers}
        splits = {split for _, split in searched | query_vectors} | ({"train"} if trained else set())
        splits |= {recipe.validation.split for stage in trained if recipe.validation and recipe.validates(stage)}
        splits |= {part for split in splits for part in dataset.read_for(split)}
        return cls(
            joined=joined,
            mined=mined,
            published=[name for name in negatives if name in dataset.negatives],
            rankings=rankings,
            validation=validation,
            query_vectors=query_vectors,
            vectors=[name for name in recipe.retrievers if name in {system for system, _ in query_vectors}],
            splits=[split for split in dataset.splits if split in splits],
            stored=[name for name in dataset.scores if name in scored],
            stored_pools=pools,
            graded=QRELS in negatives,
        )


def _rankings(
    recipe: Recipe, mined: list[str], taught: list[str]
) -> tuple[set[tuple[str, str]], set[tuple[str, str]], set[str]]:
    """Return the rankings of whole splits, those for the validation alone, and whose training ranking is joined.

    Rankings that others are made of are among them.

    Args:
        taught: fusions that are teachers; their scores come from what they are made of.
    """
    whole = {*needs.evaluated(recipe), *((system, "train") for system in mined)}
    whole |= {(edge.source, "train") for name in taught for edge in needs.edges(recipe, name)}
    whole |= set(filter(None, (needs.validation_ranking(recipe, stage) for stage in recipe.stages)))
    all_parts, new = set(whole), whole  # (system, part), where the training queries are one part or shards
    train = needs.query_parts(recipe, "train")
    while new:
        made_of = {
            (edge.source, needs.part_of(recipe, edge.source, query_part))
            for name, part in new
            for edge in needs.edges(recipe, name)
            if edge.kind in ("candidates", "fused")
            for query_part in (train if part == "train" and edge.kind == "fused" else [part])
        }
        new = made_of - all_parts
        all_parts |= new
    splits = recipe.dataset.splits
    rankings = {(name, needs.split_of(part)) for name, part in all_parts if part in splits or needs.shard_of(part)}
    validation = {(name, needs.split_of(part)) for name, part in all_parts if part == needs.validation_part(recipe)}
    return rankings, validation, {name for name, part in all_parts if part == "train"}


def token_files(recipe: Recipe, demand: Demand) -> tuple[set[str], set[tuple[str, str]]]:
    """Return the tokenizers that the passages are cut with, and the (tokenizer, split) of the queries."""
    rankers = recipe.with_output("scores")
    queries = demand.query_vectors | {(name, split) for name, split in demand.rankings if name in rankers}
    for stage in recipe.trained:
        scoring = [name for name in scorers.with_jobs(recipe, stage) if name in rankers]
        queries |= {(name, "train") for name in (stage, *scoring)}
    passages = {name for name, _ in queries} | set(recipe.names("masked_lm"))
    if validation := recipe.validation:
        queries |= {(stage, validation.split) for stage in recipe.trained if recipe.validates(stage)}
    tokenizer = recipe.tokenizer_of
    return {tokenizer(name) for name in passages}, {(tokenizer(name), split) for name, split in queries}


def source_files(recipe: Recipe) -> list[str]:
    """Return the files of the dataset that are read, by their names in its folder; downloads as they are published."""
    dataset, demand = recipe.dataset, Demand.of(recipe)
    names = [*dataset.collection_files, dataset.titles]
    for split in (split for split in demand.splits if not dataset.splits[split].union_of):
        names += [*dataset.queries_of(split), *dataset.qrels_of(split)]
        names += [*dataset.ids_of(split), *dataset.ids_without(split)]
    names += [dataset.negatives[name] for name in demand.published]
    names += [dataset.scores[name].file for name in demand.stored]
    files = [name for name in dict.fromkeys(names) if name]
    return on_disk(files) if dataset.source == "download" else files


def run_files(recipe: Recipe) -> list[str]:
    """Return the paths of the runs from elsewhere that are read."""
    dataset, demand = recipe.dataset, Demand.of(recipe)
    used = sorted((name, split) for name, split in demand.rankings | demand.validation if name in dataset.runs)
    folder = dataset.folder if dataset.source == "folder" else None
    return [str(Path(folder or "", dataset.runs[name][split])) for name, split in used]


def outputs(recipe: Recipe) -> dict[str, str]:
    """Return the output of every system and teacher: that of a stage, stored for existing scores, or its kind."""
    outputs: dict[str, str] = {name: stage.output for name, stage in recipe.stages.items() if stage.output}
    outputs |= dict.fromkeys(recipe.variants, "variant")
    outputs |= dict.fromkeys(recipe.dataset.runs, "run") | dict.fromkeys(recipe.fusion, "fusion")
    return outputs | {"bm25": "bm25", QRELS: "stored"} | dict.fromkeys(recipe.dataset.scores, "stored")


def _searches(recipe: Recipe, demand: Demand, output: dict[str, str]) -> Counter[str]:
    """Return the number of searches by kind of system; the training queries are searched in several jobs."""
    ranked = Counter(output[name] for name, _ in demand.validation)
    for name, split in demand.rankings:
        divided = split == "train" and output[name] not in UNDIVIDED
        ranked[output[name]] += needs.train_jobs(recipe, name) if divided else 1
    return ranked


def count_jobs(recipe: Recipe) -> Counter[str]:
    """Return the number of jobs of each rule behind `led_final` when nothing is there yet."""
    demand, shards = Demand.of(recipe), recipe.dataset.shards
    passages, queries = token_files(recipe, demand)
    output = outputs(recipe)
    ranked = _searches(recipe, demand, output)
    taught = Counter(output[name] for stage in recipe.trained for name in scorers.with_jobs(recipe, stage))
    evaluated = needs.evaluated(recipe)
    judged, source = recipe.dataset.judged(recipe.evaluation.splits), recipe.dataset.source
    jobs = {
        "fetch_model": len(hub_models(recipe)),
        "docstrings": int(source == "docstrings"),
        "download": len(source_files(recipe)) if source == "download" else 0,
        "prepare_passages": 1,
        **Counter("join_splits" if recipe.dataset.splits[s].union_of else "prepare_split" for s in demand.splits),
        "tokenise_passages": len(passages) * shards,
        "tokenise_queries": len(queries),
        "bm25_index": int(ranked["bm25"] > 0),
        "bm25_search": ranked["bm25"],
        "published_pool": len(demand.published) + demand.graded,
        "store_scores": len(demand.stored),
        "pool": len(demand.mined) + len(demand.stored_pools),
        **dict.fromkeys(("candidates", "judge"), len(scorers.judged(recipe))),
        "draw": len(recipe.trained),
        "score_with_vectors": (taught["dense"] + taught["sparse"]) * shards,
        "score_with_ranker": taught["scores"] * shards,
        "score_with_stored": taught["stored"] * shards,
        "score_with_fusion": taught["fusion"] * shards,
        "trainset": len(recipe.trained) + len(scorers.judged(recipe)),
        **{family: len(recipe.names(family)) for family in ("pretrain", "masked_lm")},
        "import_model": len(recipe.imported),
        "train": len(recipe.trained),
        "encode_passages": len(demand.vectors) * shards,
        "encode_queries": len(demand.query_vectors),
        "impact_index": len({n for n, _ in demand.rankings | demand.validation if output[n] == "sparse"}),
        "impact_search": ranked["sparse"],
        "dense_search": ranked["dense"],
        "variant_search": ranked["variant"],
        **Counter(TIMED[output[name]] for name in needs.timed(recipe)),
        "join_ranking": sum(output[n] not in UNDIVIDED and needs.train_jobs(recipe, n) > 1 for n in demand.joined),
        "store_run": ranked["run"],
        "fuse": ranked["fusion"],
        "rerank": ranked["scores"],
        "run_file": len(evaluated),
        "measure": sum(split in judged for _, split in evaluated),
        **dict.fromkeys(("preflight", "resolved_recipe", "report"), 1),
        "gate": int(recipe.evaluation.gate),
        "led_final": 1,
    }
    return Counter({rule: count for rule, count in jobs.items() if count})

"""Disk: the bytes of everything a recipe leaves under results/, and the peak on the way."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from led_pipeline.fetch.hub import hub_models
from led_pipeline.plan import assumptions
from led_pipeline.plan.jobs import Demand, token_files
from led_pipeline.plan.stage_models import StageModel
from led_pipeline.plan.terms import Side, terms_of
from led_pipeline.plan.workload import Workload
from led_pipeline.recipe import needs, scorers
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Folder
from led_pipeline.recipe.stages import Ranker


@dataclass(frozen=True)
class Artefact:
    """Files of one kind. `owner` is the stage or system they belong to; what is transient goes when its job ends."""

    folder: Folder
    owner: str
    bytes: float
    transient: bool = False


def artefacts(
    recipe: Recipe,
    load: Workload,
    models: dict[str, StageModel],
    checkpointed: Collection[str] = (),
    downloads: int = 0,
    published: Mapping[str, float] | None = None,
) -> list[Artefact]:
    """Return everything that `led_final` writes.

    Args:
        models: by stage.
        checkpointed: stages whose training lasts longer than the time between two checkpoints.
        downloads: bytes of the published files as they are served.
        published: bytes of the weights on the hub, by the model's name; none unless given.
    """
    demand = Demand.of(recipe)
    return [
        *_data(recipe, load, demand, downloads),
        *_models(recipe, models, checkpointed, published or {}),
        *_vectors(recipe, load, demand, models),
        *_indexes(load, demand, recipe, models),
        *_rankings(recipe, load, demand),
        *_trainsets(recipe, load, demand),
    ]


def peak(files: list[Artefact]) -> tuple[float, float]:
    """Return the bytes at the peak and those that remain; the largest transient file counts once."""
    remaining = sum(file.bytes for file in files if not file.transient)
    return remaining + max((file.bytes for file in files if file.transient), default=0), remaining


def _data(recipe: Recipe, load: Workload, demand: Demand, downloads: int) -> Iterator[Artefact]:
    text = load.passages * load.text_bytes
    queries = sum(load.queries.values()) * assumptions.QUERY_BYTES
    if recipe.dataset.source != "folder":
        ids = load.passages * load.id_bytes * (2 if recipe.dataset.titles else 1)
        yield Artefact("source", "data", text + ids + queries + downloads)
    prepared = assumptions.PREPARED_SHARE * (text + queries) + load.passages * assumptions.ID_BYTES / 2
    yield Artefact("prepared", "data", prepared)
    tokenizers, token_queries = token_files(recipe, demand)
    width = 2 * min(load.passage_tokens, recipe.dataset.max_tokens) + 2 * assumptions.OFFSET_BYTES
    yield Artefact("tokens", "data", len(tokenizers) * load.passages * width)
    each = 2 * load.query_tokens + assumptions.OFFSET_BYTES
    yield Artefact("tokens", "data", sum(load.queries[split] * each for _, split in token_queries))


def _models(
    recipe: Recipe, models: dict[str, StageModel], checkpointed: Collection[str], published: Mapping[str, float]
) -> Iterator[Artefact]:
    for start in hub_models(recipe):
        yield Artefact("hub", "data", published.get(start.name, 0) + assumptions.TOKENIZER_BYTES)
    for name, model in models.items():
        yield Artefact("models", name, 4 * model.parameters)
        if name in checkpointed:  # the last state remains; the next one is beside it until it is complete
            state = model.state_bytes + (model.held_bytes if recipe.validates(name) else 0)
            yield Artefact("checkpoints", name, state)
            yield Artefact("checkpoints", name, state, transient=True)


def _row_bytes(model: StageModel, load: Workload, side: Side) -> float:
    if model.stage.output == "dense":
        return 2 * model.vector
    return terms_of(model, load, side) * assumptions.TERM_BYTES + 2 * assumptions.OFFSET_BYTES


def _vectors(recipe: Recipe, load: Workload, demand: Demand, models: dict[str, StageModel]) -> Iterator[Artefact]:
    for name in demand.vectors:
        passages = load.passages * _row_bytes(models[name], load, "passage")
        yield Artefact("vectors", name, passages)
        if recipe.job("encode").gpu > 1:  # each process writes its part before they are joined
            yield Artefact("vectors", name, passages / recipe.dataset.shards, transient=True)
    for name, split in sorted(demand.query_vectors):
        yield Artefact("vectors", name, load.queries[split] * _row_bytes(models[name], load, "query"))


def _indexes(load: Workload, demand: Demand, recipe: Recipe, models: dict[str, StageModel]) -> Iterator[Artefact]:
    ranked = {name for name, _ in demand.rankings | demand.validation}
    if "bm25" in ranked:
        yield Artefact("index", "bm25", load.passages * load.passage_tokens * assumptions.BM25_INDEX_BYTES)
        yield Artefact("index", "bm25", load.passages * (load.text_bytes + assumptions.JSON_ROW_BYTES), transient=True)
    for name in sorted(ranked & set(recipe.with_output("sparse"))):
        terms = load.passages * terms_of(models[name], load, "passage")
        engine = "exact" if recipe.search.lexicon_engine == "exact" else "anserini"
        yield Artefact("index", name, terms * assumptions.LEXICON_INDEX_BYTES[engine])
        if engine == "exact":
            continue
        text = terms * assumptions.JSON_TERM_BYTES + load.passages * assumptions.JSON_ROW_BYTES
        yield Artefact("index", name, text, transient=True)


def _depth(recipe: Recipe, system: str, split: str, passages: int) -> int:
    stage = recipe.stages.get(system)
    return min(stage.rerank.depth if isinstance(stage, Ranker) else needs.depth_of(recipe, split), passages)


def _rankings(recipe: Recipe, load: Workload, demand: Demand) -> Iterator[Artefact]:
    for system, split in sorted(demand.rankings):
        hits = load.queries[split] * _depth(recipe, system, split, load.passages)
        yield Artefact("rankings", system, hits * assumptions.HIT_BYTES)
    if recipe.validation:
        for system, split in demand.validation:
            hits = load.queries[split] * recipe.validation.depth
            yield Artefact("rankings", system, hits * assumptions.HIT_BYTES)
    for system, split in needs.evaluated(recipe):
        hits = load.queries[split] * _depth(recipe, system, split, load.passages)
        line = assumptions.RUN_LINE_BYTES + load.id_bytes + assumptions.ID_BYTES + len(system)
        yield Artefact("runs", system, hits * line)
    train = load.queries.get("train", 0)
    for system in demand.stored:
        depth = min(recipe.mining.published_depth, load.passages)
        yield Artefact("rankings", system, train * depth * assumptions.HIT_BYTES)
    for system in demand.mined:
        yield Artefact("pools", system, train * min(recipe.mining.depth, load.passages) * assumptions.POOL_HIT_BYTES)
    for system in [*demand.published, *demand.stored_pools]:
        share = assumptions.PUBLISHED_POOL_SHARE * recipe.mining.published_depth
        yield Artefact("pools", system, train * min(share, load.passages) * assumptions.POOL_HIT_BYTES)


def trained_examples(recipe: Recipe, stage: str, load: Workload) -> int:
    """Return the examples of all epochs that a training reaches."""
    settings = recipe.model_stage(stage)
    examples = load.of_epoch(settings)
    batches_per_epoch = -(-examples // settings.batch_size)
    return -(-load.batches(settings) // max(batches_per_epoch, 1)) * examples


def judged_candidates(recipe: Recipe, stage: str, load: Workload) -> int:
    """Return the candidates of a stage that are judged, and the positives; every pool is assumed to be full."""
    settings = recipe.model_stage(stage)
    if settings.judge is None:
        return 0
    depth = len(settings.negatives) * min(settings.deepest, load.passages)
    return load.queries.get("train", 0) * depth + load.examples


def _trainsets(recipe: Recipe, load: Workload, demand: Demand) -> Iterator[Artefact]:
    for name in recipe.trained:
        examples, candidates = trained_examples(recipe, name, load), recipe.model_stage(name).negatives_per_query + 1
        # query, epoch, a positive's text; passages and their texts; offsets of these three
        drawn = 4 + 2 + 4 + 2 * 4 * candidates + 3 * assumptions.OFFSET_BYTES
        scores = len(needs.teachers(recipe, name, in_batch=False)) * 4 * candidates
        offsets = len(needs.teachers(recipe, name, in_batch=False)) * assumptions.OFFSET_BYTES
        size = examples * (drawn + scores + drawn + scores + offsets)
        # Candidates: their rows in both files, and the judges' scores as vectors and as columns.
        size += judged_candidates(recipe, name, load) * 4 * (2 + 2 * len(scorers.judges(recipe, name)))
        yield Artefact("trainsets", name, size)

"""Lexicon search: processor hours and disk of the engines that search lexicon stages with the same rankings."""

from collections.abc import Mapping
from dataclasses import dataclass

from led_pipeline.files.atomic import size
from led_pipeline.plan import assumptions
from led_pipeline.plan.jobs import Demand
from led_pipeline.plan.stage_models import StageModel
from led_pipeline.plan.terms import terms_of
from led_pipeline.plan.workload import Workload
from led_pipeline.recipe.graph import Recipe

ENGINES = ("exact", "anserini")


@dataclass(frozen=True)
class EngineCost:
    """What one engine takes for all lexicon stages: processor hours, and bytes of the indexes."""

    index_h: float
    search_h: float
    disk: float
    query_terms: float = assumptions.TERMS["query"]
    """active entries of a query's vector, on average"""
    passage_terms: float = assumptions.TERMS["passage"]

    def __str__(self) -> str:
        return (
            f"{_hours(self.index_h + self.search_h)} CPU hours (indexes {_hours(self.index_h)}) and {size(self.disk)}"
        )


def _hours(value: float) -> str:
    return f"{value:,.1f}" if value >= 0.05 else "<0.1"


def engine_costs(recipe: Recipe, load: Workload, models: Mapping[str, StageModel]) -> dict[str, EngineCost]:
    """Return the cost of the lexicon searches that `led_final` needs, by engine; empty without such searches.

    The searches of other engines, such as an OpenSearch node, are not estimated.
    """
    demand = Demand.of(recipe)
    searched = [pair for pair in demand.rankings | demand.validation if pair[0] in recipe.with_output("sparse")]
    stages = sorted({name for name, _ in searched})
    if not searched or recipe.search.lexicon_engine not in ENGINES:
        return {}
    postings = sum(load.passages * terms_of(models[name], load, "passage") for name in stages)
    queries = sum(load.queries[split] for _, split in searched)
    terms = sum(load.queries[split] * terms_of(models[name], load, "query") for name, split in searched)
    work = terms * load.passages
    return {
        engine: EngineCost(
            postings * assumptions.LEXICON_INDEX_S[engine] / 3600,
            work * assumptions.LEXICON_SEARCH_S[engine] / 3600,
            postings * assumptions.LEXICON_INDEX_BYTES[engine],
            terms / max(queries, 1),
            postings / max(load.passages * len(stages), 1),
        )
        for engine in ENGINES
    }


def job_s(engine: str, rule: str, model: StageModel, load: Workload, queries: int) -> float:
    """Return the seconds of one thread that a job of `impact_index` or `impact_search` takes; 0 without an estimate.

    Args:
        queries: the number of its queries.
    """
    if rule == "impact_index":
        return load.passages * terms_of(model, load, "passage") * assumptions.LEXICON_INDEX_S.get(engine, 0)
    work = queries * terms_of(model, load, "query") * load.passages
    return work * assumptions.LEXICON_SEARCH_S.get(engine, 0)


def sentence(engine: str, costs: Mapping[str, EngineCost]) -> str:
    """Return one line about the chosen engine and the other one."""
    other, cost = "anserini" if engine == "exact" else "exact", costs[engine]
    terms = f"{cost.query_terms:.0f} terms per query and {cost.passage_terms:.0f} per passage assumed"
    return (
        f"lexicon search ({terms}): {cost} with search.lexicon: {engine}; {costs[other]} with {other}, which ranks"
        " alike"
    )

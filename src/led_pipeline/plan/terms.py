"""Terms: how many active entries the vectors of a lexicon stage have."""

from typing import Literal

from led_pipeline.plan import assumptions
from led_pipeline.plan.stage_models import StageModel
from led_pipeline.plan.workload import Workload

Side = Literal["query", "passage"]


def terms_of(model: StageModel, load: Workload, side: Side) -> float:
    """Return the active entries of a lexicon vector; a query that no model reads has those of its tokens."""
    terms = load.query_tokens if side == "query" and model.free_queries else assumptions.TERMS[side]
    top_k = getattr(model.stage, {"query": "top_k_queries", "passage": "top_k_passages"}[side])
    return min(terms, top_k or terms)

"""The processor hours and the disk of the engines of lexicon stages, and what a recipe needs to be installed."""

from pathlib import Path

import pytest
from configs import RECIPES, changed

from led_pipeline.plan import assumptions
from led_pipeline.plan.engines import check_engines, compiler, engines
from led_pipeline.plan.lexicon_search import engine_costs, sentence
from led_pipeline.plan.stage_models import stage_models
from led_pipeline.plan.table import estimate, text
from led_pipeline.plan.workload import Workload
from led_pipeline.recipe.load import load_recipe

NOWHERE = Path("/nowhere/results")
LOAD = Workload(passages=1_000, text_bytes=450, queries={"train": 50, "dev": 10}, examples=40, basis="by hand")


def small(**search: str):
    stage = {"family": "lexicon", "init": "./bert", "train": False, "quantisation": 100}
    dataset = {"name": "s", "source": "folder", "folder": "x", "splits": {"train": {}, "dev": {}}}
    return load_recipe({"dataset": dataset, "tokenizer": "./bert", "stages": {"lex": stage}, "search": search})


def test_the_costs_follow_from_terms_queries_and_passages():
    recipe = small(lexicon="exact")
    costs = engine_costs(recipe, LOAD, stage_models(recipe, NOWHERE))
    terms, queries = 1_000 * assumptions.TERMS["passage"], 10 * assumptions.TERMS["query"]
    for engine, cost in costs.items():
        assert cost.disk == terms * assumptions.LEXICON_INDEX_BYTES[engine]
        assert cost.index_h == pytest.approx(terms * assumptions.LEXICON_INDEX_S[engine] / 3600)
        assert cost.search_h == pytest.approx(queries * 1_000 * assumptions.LEXICON_SEARCH_S[engine] / 3600)
    assert set(costs) == {"exact", "anserini"}
    assert not engine_costs(small(backend="opensearch"), LOAD, stage_models(recipe, NOWHERE))


@pytest.mark.parametrize(("engine", "other"), [("exact", "anserini"), ("anserini", "exact")])
def test_the_plan_names_the_chosen_engine_and_what_the_other_costs(engine, other):
    recipe = load_recipe(changed(RECIPES["config.yaml"], {"search": {"lexicon": engine}}))
    cost = estimate(recipe, NOWHERE)
    line = sentence(engine, cost.lexicon)
    assert line in text(cost).splitlines()
    assert line.startswith("lexicon search (43 terms per query and 119 per passage assumed): ")
    assert f"with search.lexicon: {engine}; " in line and line.endswith(f" with {other}, which ranks alike")
    written = [file for file in cost.files if file.folder == "index" and file.owner != "bm25"]
    assert sum(file.bytes for file in written if not file.transient) == pytest.approx(cost.lexicon[engine].disk)
    assert any(file.transient for file in written) == (engine == "anserini")  # the text that Anserini reads


def test_the_hours_of_anserini_are_those_that_were_extrapolated_from_measurements():
    """docs/measurements/scale.md: 24 h for the training queries of MS MARCO, with queries of 25 terms."""
    recipe = small(lexicon="anserini")
    load = Workload(
        passages=8_841_823, text_bytes=338, queries={"train": 502_939, "dev": 502_939}, examples=1, basis=""
    )
    cost = engine_costs(recipe, load, stage_models(recipe, NOWHERE))["anserini"]  # dev alone is searched
    assert cost.query_terms == 43 and cost.search_h * 25 / 43 == pytest.approx(24, rel=0.05)


def test_the_sentence_says_the_terms_of_pruned_vectors():
    recipe = small(lexicon="exact")
    pruned = recipe.model_copy(update={"stages": {"lex": recipe.stages["lex"].model_copy(update={"top_k_queries": 8})}})
    line = sentence("exact", engine_costs(pruned, LOAD, stage_models(pruned, NOWHERE)))
    assert line.startswith("lexicon search (8 terms per query and 119 per passage assumed): ")


def test_java_is_needed_for_bm25_and_for_lexicon_stages_in_lucene():
    assert engines(small()) == ["anserini"]
    assert engines(small(lexicon="exact")) == ["anserini", "exact"]  # BM25 is a row of the table
    assert engines(small(lexicon="exact", backend="opensearch")) == ["opensearch", "exact"]


def test_a_compiled_stage_needs_a_compiler(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    recipe = small()
    stage = recipe.stages["lex"].model_copy(update={"compile": True, "train": True})
    compiled = recipe.model_copy(update={"stages": {"lex": stage}})
    monkeypatch.setattr("shutil.which", lambda name: None)
    (finding,) = compiler(compiled, elsewhere=False)
    assert finding.level == "fatal" and "stages.lex.compile" in finding.text and "apt install g++" in finding.text
    assert not [*compiler(compiled, elsewhere=True)] and not [*compiler(recipe, elsewhere=False)]
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert next(compiler(compiled, elsewhere=False)).text == "/usr/bin/g++"


def test_the_check_names_numba_and_where_compiled_loops_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    findings = {finding.subject: finding for finding in check_engines(small(lexicon="exact"))}
    assert findings["numba"].level == "ok" and str(tmp_path) in findings["numba"].text

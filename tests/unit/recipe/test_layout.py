"""The layout: which path each kind of file has, as a rule's pattern and as a job's file."""

import inspect
import re
from pathlib import Path

import pytest

from led_pipeline.recipe.layout import VECTOR_SUFFIX, Layout
from led_pipeline.recipe.stages import FAMILIES

LAYOUT = Layout.of("demo")
# The files of a finished run, as docs/architecture.md lists them; users' scripts rely on them.
PATHS = {
    "results/demo/preflight.json": LAYOUT.preflight,
    "results/demo/provenance/contents.json": LAYOUT.contents,
    "results/demo/hub/org--name": LAYOUT.hub("org/name"),
    "results/demo/hub/{model}": LAYOUT.hub_folder("{model}"),
    "results/demo/source/collection.tsv": LAYOUT.source("collection.tsv"),
    "results/demo/source/source.json": LAYOUT.source_note,
    "results/demo/source/.archives": LAYOUT.archives,
    "results/demo/source/checksums": LAYOUT.checksums,
    "results/demo/prepared/passages.parquet": LAYOUT.passages,
    "results/demo/prepared/passages.json": LAYOUT.prepared_note("passages"),
    "results/demo/prepared/dev.queries.parquet": LAYOUT.queries("dev"),
    "results/demo/prepared/dev.qrels": LAYOUT.qrels("dev"),
    "results/demo/tokens/base/passages.3.arrow": LAYOUT.passage_tokens("base", 3),
    "results/demo/tokens/base/train.arrow": LAYOUT.query_tokens("base", "train"),
    "results/demo/models": LAYOUT.models,
    "results/demo/models/led": LAYOUT.model("led"),
    "results/demo/models/led/led.json": LAYOUT.model_note("led"),
    "results/demo/models/led/software.json": LAYOUT.model_software("led"),
    "results/demo/models/led/train.jsonl": LAYOUT.train_log("led"),
    "results/demo/models/led/machine.json": LAYOUT.model_machine("led"),
    "results/demo/benchmarks": LAYOUT.benchmarks,
    "results/demo/benchmarks/train/led.tsv": LAYOUT.benchmark("train/led"),
    "results/demo/checkpoints/led": LAYOUT.checkpoints("led"),
    "results/demo/vectors/led/passages.0.npy": LAYOUT.passage_vectors("led", 0, "npy"),
    "results/demo/vectors/lex/dev.arrow": LAYOUT.query_vectors("lex", "dev", "arrow"),
    "results/demo/vectors/led/speed.passages.0.json": LAYOUT.encoding_note("led", 0),
    "results/demo/costs/led.json": LAYOUT.query_time("led"),
    "results/demo/index/bm25": LAYOUT.index("bm25"),
    "results/demo/rankings/led.train.2.parquet": LAYOUT.ranking("led", "train.2"),
    "results/demo/runs/led.dev.trec": LAYOUT.run("led", "dev"),
    "results/demo/eval/led.dev.json": LAYOUT.measures("led", "dev"),
    "results/demo/eval/led.dev.per_query.tsv": LAYOUT.measures_per_query("led", "dev"),
    "results/demo/pools/bm25.parquet": LAYOUT.pool("bm25"),
    "results/demo/pools/bm25.json": LAYOUT.pool_note("bm25"),
    "results/demo/trainsets/led/drawn.arrow": LAYOUT.drawn("led"),
    "results/demo/trainsets/led/drawn.json": LAYOUT.drawn_note("led"),
    "results/demo/trainsets/led.candidates/dropped.parquet": LAYOUT.dropped("led"),
    "results/demo/trainsets/led.candidates/dropped.json": LAYOUT.dropped_note("led"),
    "results/demo/trainsets/led/scores/lex.1.npy": LAYOUT.scores("led", "lex", 1),
    "results/demo/trainsets/led/trainset.arrow": LAYOUT.trainset("led"),
    "results/demo/report/recipe.json": LAYOUT.resolved_recipe,
    "results/demo/report/index.html": LAYOUT.page,
    "results/demo/report/table.txt": LAYOUT.table,
    "results/demo/report/metrics.json": LAYOUT.metrics,
    "results/demo/report/gate.json": LAYOUT.gate,
    "logs/demo/train/led.log": LAYOUT.log("train/led"),
    "logs/demo/run.json": LAYOUT.run_file,
    "logs/demo/estimates.json": LAYOUT.estimates,
}


@pytest.mark.parametrize("path", PATHS)
def test_every_kind_of_file_has_its_path(path):
    assert PATHS[path] == path


def test_no_path_is_missing_from_the_list():
    names = {name for name, _ in inspect.getmembers(Layout) if not name.startswith("_")}
    used = set(re.findall(r"LAYOUT\.(\w+)", Path(__file__).read_text()))
    assert names - {"of", "root", "logs"} <= used


def test_arguments_may_be_wildcards():
    pattern = LAYOUT.scores("{stage}", "{system}", "{shard}")
    assert pattern.format(stage="led", system="lex", shard=1) == LAYOUT.scores("led", "lex", 1)


def test_what_a_run_is_made_for_is_not_intermediate():
    intermediate = {path for path in PATHS if LAYOUT.is_intermediate(path)}
    assert {path.split("/")[2] for path in intermediate} == {"tokens", "vectors", "pools", "trainsets"}
    patterns = [LAYOUT.model("{stage}"), LAYOUT.run("{system}", "{split}"), LAYOUT.measures("{system}", "{split}")]
    assert not any(map(LAYOUT.is_intermediate, patterns))
    assert LAYOUT.is_intermediate(LAYOUT.passage_vectors("{stage}", "{shard}", "{suffix}"))


def test_results_may_be_in_another_folder(tmp_path):
    assert Path(Layout(tmp_path).model("led")) == tmp_path / "models" / "led"


def test_all_kinds_of_vectors_have_a_format():
    assert {family.output for family in FAMILIES.values()} - VECTOR_SUFFIX.keys() == {"scores", None}


def test_no_rule_spells_a_path_under_the_results_out():
    root = Path(__file__).parents[3]
    for path in [root / "Snakefile", *(root / "workflow" / "rules").glob("*.smk")]:
        code = re.sub(r'""".*?"""', "", path.read_text(), flags=re.S)
        code = re.sub(r"#.*", "", code)
        assert not re.search(r"[\"'](?:results|logs)/|\{ROOT\}|\{LOGS\}", code), path.name

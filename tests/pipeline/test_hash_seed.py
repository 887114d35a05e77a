"""No plan, command, error or file depends on the order of a set, which Python shuffles differently in every process."""

import os
import subprocess
import sys

import pytest
import yaml
from configs import changed
from workflow_copy import ROOT, WorkflowCopy

pytestmark = pytest.mark.pipeline

SEEDS = ("0", "1", "2")
TINY = yaml.safe_load((ROOT / "tests" / "pipeline" / "tiny.yaml").read_text())
# Names that once mapped to the same folder, or to none, depending on the process.
TOKENIZERS = {"den_warmup": "models/a", "lex_warmup": "models_a", "ranker": "模型", "led": "./models/a", "led_rt": "模"}
CONFIG = changed(TINY, {f"stages.{stage}.tokenizer": name for stage, name in TOKENIZERS.items()} | {"validation": None})
CONFIG = changed(CONFIG, {f"stages.{name}.reinterpret": True for name in TINY["stages"] if name != "pretrain"})


def test_similar_tokenizer_names_get_the_same_distinct_folders_in_every_process(tmp_path):
    workflow = WorkflowCopy(tmp_path)
    for name in set(TOKENIZERS.values()):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "tokenizer.json").write_text(name)
    command = ("led_final", "--dry-run", "--printshellcmds", "--configfile", workflow.write_config(CONFIG))
    answers = [workflow.snakemake(*command, PYTHONHASHSEED=seed) for seed in SEEDS]
    assert answers[0].returncode == 0, answers[0].stderr
    commands = [sorted(line for line in a.stdout.splitlines() if "python -m" in line) for a in answers]
    assert len(commands[0]) > 90 and commands[0] == commands[1] == commands[2]
    cut = [line.split() for line in commands[0] if "data.tokens" in line and "--shard 0" in line]
    folders = {words[words.index("--tokenizer") + 1]: words[words.index("--out") + 1].split("/")[3] for words in cut}
    assert len(folders) == len(set(folders.values())) == 5, "four folders of the user's, and the stage `pretrain`"
    assert folders["results/tiny/models/pretrain"] == "pretrain"


CYCLES = """
from led_pipeline.recipe.load import load_recipe
dense = {"family": "dense", "init": "x/y"}
# Two cycles, of which the error names one, and a first stage that is in neither.
negatives = {"x": ["a", "b", "c", "d"], "a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}
stages = {name: dense | {"negatives": others} for name, others in negatives.items()}
try:
    dataset = {"name": "x", "source": "folder", "folder": "x", "splits": {"train": {}, "dev": {}}}
    load_recipe({"dataset": dataset, "stages": stages})
except Exception as error:
    print(error)
"""

DRAWN = """
import json, sys
from pathlib import Path
from led_pipeline.data import collection, pools, trainset

def call(module, *arguments):
    sys.argv = [module.__name__, *map(str, arguments)]
    module.main()

Path("c.tsv").write_text("".join(f"p{i}\\ttext {i * 7 % 50}\\n" for i in range(50)))
Path("q.tsv").write_text("".join(f"q{i}\\tquery {i}\\n" for i in range(30)))
Path("r.tsv").write_text("".join(f"q{i}\\t0\\tp{j}\\t1\\n" for i in range(30) for j in (i, i + 9)))
Path("n.tsv").write_text("".join(f"q{i}\\t{','.join(f'p{j}' for j in range(i, i + 20))}\\n" for i in range(30)))
call(collection, "passages", "--format", "msmarco", "--collection", "c.tsv", "--skip", "--out", "p.parquet",
     "--provenance", "p.json")
call(collection, "split", "--format", "msmarco", "--queries", "q.tsv", "--qrels", "r.tsv", "--positive",
     "--limit", "20", "--seed", "3", "--passages", "p.parquet", "--skip", "--out-queries", "q.parquet",
     "--out-qrels", "q.qrels",
     "--provenance", "q.json")
where = ["--queries", "q.parquet", "--passages", "p.parquet", "--qrels", "q.qrels"]
call(pools, "published", "--negatives", "n.tsv", *where, "--depth", "9", "--out", "pool.parquet")
settings = {"negatives": ["hard"], "negatives_per_query": 3, "negatives_depth": 9, "deduplicate": True, "epochs": 2}
settings |= {"max_steps": None, "batch_size": 4, "seed": 5, "positive_from": 1, "positives_per_epoch": "all"}
call(trainset, "draw", *where, "--pools", "pool.parquet", "--settings", json.dumps(settings), "--out", "drawn.arrow")
"""


def in_a_process(code, seed, folder):
    environment = os.environ | {"PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_errors_and_data_are_the_same_in_every_process(tmp_path):
    (sentence,) = {in_a_process(CYCLES, seed, tmp_path) for seed in SEEDS}
    assert "a stage cannot need itself" in sentence
    contents = []
    for seed in SEEDS:
        folder = tmp_path / seed
        folder.mkdir()
        in_a_process(DRAWN, seed, folder)
        contents.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert {"p.parquet", "q.parquet", "pool.parquet", "drawn.arrow"} <= contents[0].keys()
    assert contents[0] == contents[1] == contents[2]

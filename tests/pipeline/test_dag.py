"""The workflow itself: its plan for the recipe of the paper, and the jobs that a change re-runs.

Nothing is downloaded, trained or searched: plans are dry runs, and fake jobs, which only create their outputs, make
the finished run whose changes are planned.
"""

import os
import re
import shutil
import subprocess
import time
import zipfile
from collections import Counter
from fnmatch import fnmatch

import pytest
import yaml
from configs import RECIPES, changed, without_extras
from workflow_copy import ALL_AT_ONCE, ROOT, Plan, WorkflowCopy

from led_pipeline.files import atomic
from led_pipeline.plan.jobs import count_jobs, run_files, source_files
from led_pipeline.recipe.load import load_recipe
from led_pipeline.versions import VERSIONS

pytestmark = pytest.mark.pipeline

PAPER = RECIPES["config.yaml"]
SHORT = changed(without_extras(PAPER), {"dataset.shards": 2, "evaluation.splits": ["dev"]})  # with fewer files
RESULTS = "results/msmarco"

TRAINED = ["den_warmup", "lex_warmup", "lex_continue", "den_continue", "led", "led_rt"]
SYSTEMS = ["bm25", "ranker", *TRAINED]

# 16 shards; 4 splits, 3 of them evaluated; 6 trained stages (4 dense, 2 lexicon) and a ranker; 8 systems with BM25.
# 3 systems are mined; led learns from one teacher, led_rt from two.
JOBS = {
    "preflight": 1,
    "fetch_model": 4,  # three models and the tokenizer
    "download": 11,  # collection, titles, BM25 negatives, and two files per split
    "prepare_passages": 1,
    "prepare_split": 4,
    "tokenise_passages": 16,  # one tokenizer for all stages
    "tokenise_queries": 4,
    "bm25_index": 1,
    "bm25_search": 3 + 1,  # and the candidates of validations; the training queries have published negatives
    "published_pool": 1,
    "pool": 3,
    "draw": 6,
    "score_with_vectors": 2 * 16,
    "score_with_ranker": 16,
    "trainset": 6,
    "import_model": 1,
    "train": 6,
    "encode_passages": 6 * 16,
    "encode_queries": 6 * 3 + 3,
    "impact_index": 2,
    "impact_search": 2 * 3 + 2 * 16,  # the training queries are searched in shards
    "dense_search": 4 * 3 + 16,
    "join_ranking": 3,
    "rerank": 3,
    "run_file": 8 * 3,
    "measure": 8 * 3,
    "bm25_query_time": 1,
    "impact_query_time": 2,
    "query_time": 4,
    "ranker_query_time": 1,
    "resolved_recipe": 1,
    "report": 1,
    "led_final": 1,
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return WorkflowCopy(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run the recipe of the paper, with fewer files, to its end with fake jobs."""
    workflow = WorkflowCopy(tmp_path_factory.mktemp("finished"))
    workflow.run_fake_jobs(SHORT)
    return workflow


# --- planning


def test_the_recipe_of_the_paper_is_planned_without_data_or_network(clean):
    started = os.times().children_user
    plan = clean.plan("led_final")
    seconds = os.times().children_user - started
    print(f"{len(plan.jobs)} jobs planned in {seconds:.1f} s of CPU time")
    assert plan.counts == JOBS
    assert seconds < 20, "two to three seconds of CPU time, whatever else the machine does"
    assert not (clean.folder / "results").exists()


def test_a_plan_needs_neither_torch_nor_a_network(clean):
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise SystemExit('the plan asks for a network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from snakemake.cli import main\n"
        "try:\n    main(['led_final', '--dry-run', '--quiet', 'all'])\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    command = [*clean.command()[:1], "-c", code]
    answer = subprocess.run(command, **clean.options(), capture_output=True, text=True)
    assert answer.stdout.splitlines()[-1] == "0 False False", answer.stdout + answer.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_planned_without_warnings(clean, name):
    config, recipe = ("--configfile", clean.folder / "config" / name), load_recipe(RECIPES[name])
    if recipe.dataset.source == "folder":  # the user's own
        for file in source_files(recipe):
            path = clean.folder / recipe.dataset.folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    lint = clean.snakemake("--lint", *config)
    assert "Congratulations" in lint.stdout + lint.stderr, lint.stdout + lint.stderr
    plan = clean.snakemake("led_final", "--dry-run", *config)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "redundant" not in lint.stderr + plan.stderr, "a warning about a path"
    assert Plan(plan.stdout).counts == count_jobs(recipe), "what led plan says"


TINY = yaml.safe_load((ROOT / "tests" / "pipeline" / "tiny.yaml").read_text())
COUNTED = {
    "rankers that are trained, mined and taught from": TINY,
    "no evaluation": changed(TINY, {"evaluation": {"splits": []}}),
    "a gate": changed(PAPER, {"evaluation.gate": True}),
    "validation on a split of its own": changed(SHORT, {"validation.split": "dl2019"}),
    "re-ranking of a mined system": changed(SHORT, {"stages.ranker.rerank.system": "lex_warmup"}),
    "two systems as one teacher, from their vectors": changed(
        SHORT,
        {
            "stages.led.teachers.0": {
                "stages": ["lex_continue", "den_continue"],
                "loss": "kl",
                "scale": 30,
                "candidates": "batch",
            },
            "stages.led_rt.teachers.0": {"stages": ["lex_continue", "ranker"], "weights": [1, 2], "loss": "kl"},
            "evaluation.splits": [],
            "evaluation.compare": [],
            "evaluation.side_by_side": None,
        },
    ),
    "score files and grades": changed(
        SHORT,
        {
            "dataset.scores": {"cross": "cross.pkl.gz", "margins": "m.jsonl", "extra": "e.run", "unused": "u.json"},
            "stages.led.negatives": [
                "cross",
                {"system": "lex_warmup", "first": 9},
                {"system": "lex_warmup", "last": 2},
            ],
            "stages.led_rt.more_positives": {"scores": "extra", "min_score": 3},
            "stages.led.teachers": [{"stage": name, "loss": "kl"} for name in ("cross", "margins", "qrels")],
            "stages.led_rt.negatives": [{"system": "qrels", "max_score": 3}, "bm25"],
            "stages.led_rt.positive_from": "highest",
            "stages.led_rt.teachers.0": {"stage": "qrels", "loss": "kl", "candidates": "batch"},
            "stages.led.only_scored": True,
        },
    ),
    "a sample of the training queries to validate on": changed(
        SHORT, {"dataset.splits.dev": {"sample_of": "train", "limit": 500}}
    ),
    "a model of the hub and no training queries": {
        "dataset": {"name": "only_test", "source": "download", "splits": {"dev": {}}, "shards": 2},
        "stages": {"hub": {"family": "dense", "init": "Luyu/co-condenser-marco", "train": False}},
    },
    "fusions that are evaluated, mined, taught from, validated on and re-ranked, and a run": changed(
        SHORT,
        {
            "dataset.runs": {"mono": {"dev": "mono.trec", "train": "mono.json"}, "other": {"dl2019": "x.run"}},
            "fusion": {
                "all": {"method": "weighted", "systems": ["hybrid", "mono", "ranker"]},
                "hybrid": {"method": "rrf", "systems": ["bm25", "lex_warmup"]},
                "deep": {"method": "rrf", "systems": ["hybrid", "den_warmup"]},
                "partial": {"method": "rrf", "systems": ["other", "den_warmup"]},
            },
            "stages.ranker.rerank.system": "hybrid",
            "stages.led.negatives": ["hybrid", "mono", "all"],
            "stages.led_rt.teachers.0": {"stage": "deep", "loss": "kl"},
            "evaluation.splits": ["dev", "dl2019"],
            "validation.system": "hybrid",
            "stages.lex_warmup.validation": False,
        },
    ),
    "several sets of training queries": changed(
        SHORT,
        {
            "dataset.splits.a": {"queries": "queries.train.tsv", "qrels": "qrels.train.tsv"},
            "dataset.splits.b": {"sample_of": "dev", "limit": 100},
            "dataset.splits.train": {"union_of": ["a", "b"]},
            "stages.led.split_temperature": 2,
        },
    ),
    "dense stages and lexicon stages on GPUs that rank all training queries in one job": changed(
        SHORT,
        {
            "search": {"train_jobs": 1, "lexicon": "exact_gpu"},
            "resources.search.gpu": 1,
            "fusion": {"hybrid": {"method": "rrf", "systems": ["bm25", "den_warmup", "lex_warmup"]}},
            "stages.led.negatives": ["hybrid", "den_warmup", "bm25"],
        },
    ),
    "dense stages that rank the training queries in another number of jobs than there are shards": changed(
        SHORT,
        {
            "search": {"train_jobs": 3},
            "fusion": {"hybrid": {"method": "rrf", "systems": ["bm25", "den_warmup", "lex_warmup"]}},
            "stages.led.negatives": ["hybrid", "den_warmup"],
        },
    ),
    "queries without judgements": changed(
        SHORT, {"dataset.splits.dl2019.qrels": "none", "evaluation.splits": ["dl2019", "dev"]}
    ),
    "times of searches, a fusion with a ranker, and a run from elsewhere": changed(
        SHORT,
        {
            "evaluation.timed_queries": 9,
            "dataset.runs": {"colbert": {"dev": "colbert.dev.trec"}},
            "fusion": {
                "hybrid": {"method": "rrf", "systems": ["bm25", "ranker"]},
                "with_colbert": {"method": "rrf", "systems": ["bm25", "colbert"]},
            },
        },
    ),
    "a model that is pre-trained on the passages": changed(
        SHORT,
        {
            "stages.bow": {"family": "masked_lm", "init": "org/model"},
            "stages.further": {"family": "masked_lm", "init": "bow", "tokenizer": "bow"},
            "stages.lex_warmup.init": "further",
        },
    ),
    "a teacher that is not evaluated": changed(SHORT, {"evaluation.splits": [], "evaluation.side_by_side": None}),
}


@pytest.mark.parametrize("case", COUNTED)
def test_led_plan_counts_the_jobs_that_snakemake_plans(clean, case):
    sources = clean.folder / "config" / "sources.yaml"
    catalogue = yaml.safe_load(sources.read_text())
    names = {source["name"] for source in catalogue["files"]}
    score_files = COUNTED[case]["dataset"].get("scores", {}).values()
    missing = {file if isinstance(file, str) else file["file"] for file in score_files} - names
    entry = {"bytes": 1, "verified": False, "licence": "none"}
    catalogue["files"] += [{"name": name, "url": [f"https://x.test/{name}"], **entry} for name in sorted(missing)]
    sources.write_text(yaml.safe_dump(catalogue))
    for path in run_files(load_recipe(COUNTED[case])):
        (clean.folder / path).touch()
    assert clean.plan("led_final", config=COUNTED[case]).counts == count_jobs(load_recipe(COUNTED[case]))


def test_the_workflow_is_formatted(clean):
    answer = subprocess.run([*clean.command()[:2], "snakefmt", "--check", "Snakefile", "workflow"], cwd=ROOT)
    assert answer.returncode == 0


ARTEFACTS = {
    "preflight.json": {"preflight": 1},
    "hub/distilbert-base-uncased": {"preflight": 1, "fetch_model": 1},
    "source/collection.tsv": {"preflight": 1, "download": 1},
    "prepared/passages.parquet": {"preflight": 1, "download": 2, "prepare_passages": 1},
    "prepared/dl2019.qrels": {"preflight": 1, "download": 4, "prepare_passages": 1, "prepare_split": 1},
    "prepared/train.json": {"preflight": 1, "download": 4, "prepare_passages": 1, "prepare_split": 1},
    "index/bm25": {"preflight": 1, "download": 2, "prepare_passages": 1, "bm25_index": 1},
    "models/ranker": {"preflight": 1, "fetch_model": 2, "import_model": 1},
}
OTHER_ARTEFACTS = [
    "tokens/bert-base-uncased/passages.15.arrow",
    "tokens/bert-base-uncased/train.arrow",
    "pools/bm25_official.parquet",
    "pools/lex_continue.json",
    "trainsets/led/drawn.json",
    "trainsets/led/scores/lex_continue.3.npy",
    "trainsets/led_rt/scores/ranker.0.npy",
    "trainsets/led_rt/trainset.arrow",
    "models/lex_warmup",
    "vectors/lex_warmup/passages.0.arrow",
    "vectors/led/passages.15.npy",
    "vectors/led/dev.npy",
    "index/lex_continue",
    "rankings/bm25.train.parquet",
    "rankings/ranker.dl2020.parquet",
    "runs/led.dev.trec",
    "eval/led.dev.json",
    "eval/lex_warmup.dl2019.per_query.tsv",
    "report/recipe.json",
    "report/metrics.json",
]


@pytest.mark.parametrize("target", ARTEFACTS)
def test_a_target_runs_only_the_jobs_that_it_needs(clean, target):
    assert clean.plan(f"{RESULTS}/{target}").counts == ARTEFACTS[target]


def test_every_kind_of_artefact_can_be_a_target(clean):
    plan = clean.plan(*(f"{RESULTS}/{target}" for target in OTHER_ARTEFACTS))
    assert set(OTHER_ARTEFACTS) <= plan.outputs
    assert "led_final" not in plan.counts


def test_a_warmup_model_waits_for_no_other_stage(clean):
    plan = clean.plan(f"{RESULTS}/models/lex_warmup")
    assert plan.counts["train"] == 1
    assert not {"encode_passages", "pool", "rerank"} & set(plan.counts)


def test_a_recipe_without_titles_validation_or_rankers_is_planned(clean):
    config = changed(PAPER, {"dataset.titles": None, "validation": None})
    del config["stages"]["ranker"], config["stages"]["led_rt"]
    config["evaluation"]["compare"] = []
    plan = clean.plan("led_final", config=config)
    without = {"import_model", "rerank", "score_with_ranker"}
    assert not without & set(plan.counts)
    assert plan.counts["train"] == 5 and plan.counts["download"] == 10


def test_a_users_dataset_is_read_from_its_folder(clean):
    """A collection in BEIR's format in a user's folder, and the stages of the demo."""
    folder = clean.folder / "own"
    (folder / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        (folder / name).touch()
    dataset = {
        "name": "own",
        "source": "folder",
        "format": "beir",
        "folder": "own",
        "splits": {"train": {}, "test": {"limit": 5}},
    }
    config = RECIPES["demo.yaml"] | {"dataset": dataset}
    config = changed(config, {"evaluation.splits": ["test"]})
    arguments = ("led_final", "--dry-run", "--printshellcmds", "--configfile", clean.write_config(config))
    answer = clean.snakemake(*arguments)
    assert not {"docstrings", "download"} & set(Plan(answer.stdout).counts), answer.stderr
    assert "--collection own/corpus.jsonl" in answer.stdout
    for split in ("train", "test"):
        assert f"--queries own/queries.jsonl --qrels own/qrels/{split}.tsv" in answer.stdout


def test_a_dataset_is_read_from_its_archive(clean):
    """BM25 alone, on a dataset without training queries; its test queries are passages."""
    with zipfile.ZipFile(clean.folder / "arguana.zip", "w") as archive:
        for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
            archive.writestr(f"arguana/{name}", "")
    dataset = {"name": "arguana", "source": "folder", "format": "beir", "folder": "arguana.zip", "splits": {"test": {}}}
    dataset |= {"exclude_query_id": True, "templates": {"passage": "{title} {text}"}}
    config = {"dataset": dataset, "stages": {}, "evaluation": {"splits": ["test"], "depth": 100}}
    config_file = clean.write_config(config)
    answer = clean.snakemake("led_final", "--dry-run", "--printshellcmds", "--configfile", config_file)
    plan = Plan(answer.stdout)
    assert plan.counts == count_jobs(load_recipe(config)), answer.stderr
    assert "--collection arguana.zip/corpus.jsonl" in answer.stdout
    assert "--queries arguana.zip/queries.jsonl --qrels arguana.zip/qrels/test.tsv" in answer.stdout
    assert "--template '{title} {text}' --missing error" in answer.stdout
    assert "--hits 101" in answer.stdout and "--depth 100 --drop-same-id" in answer.stdout


def test_a_run_may_use_another_directory(clean, tmp_path):
    config = clean.folder / "config" / "config.yaml"
    arguments = ("led_final", "--dry-run", "--directory", tmp_path, "--configfile", config)
    answer = clean.snakemake(*arguments)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert list(tmp_path.iterdir()) in ([], [tmp_path / ".snakemake"])


# --- on a cluster


def requested_resources(plan: str) -> list[dict[str, str]]:
    """Return the rule and the resources of every job of a plan."""
    pattern = r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$"
    jobs = re.findall(pattern, plan, flags=re.M)
    return [{"rule": rule} | dict(pair.split("=", 1) for pair in resources.split(", ")) for rule, resources in jobs]


def test_the_profile_sends_the_jobs_with_a_gpu_and_no_others_to_the_gpu_partition(clean):
    answer = clean.snakemake("led_final", "--dry-run", "--profile", ROOT / "profiles/slurm")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    local = {"download", "fetch_model", "preflight", "resolved_recipe", "gate", "led_final"}
    jobs = [job for job in requested_resources(answer.stdout) if job["rule"] not in local]
    assert {job["rule"] for job in jobs} == JOBS.keys() - local
    for job in jobs:
        assert job["slurm_partition"] == ("gpu" if int(job.get("gpu", 0)) else "cpu"), job
        assert job.keys() >= {"mem_mb", "runtime"}
        assert not {"mpi", "gres", "tasks"} & job.keys(), "one process per job is SLURM's part, the rest is torchrun's"


def test_lexicon_stages_are_searched_on_gpus_if_the_recipe_says_so(clean):
    config = changed(PAPER, {"search": {"lexicon": "exact_gpu"}, "resources.search.gpu": 2})
    command = ("--dry-run", "--configfile", clean.write_config(config), "--printshellcmds")
    answer = clean.snakemake(f"{RESULTS}/rankings/lex_warmup.dev.parquet", *command)
    (job,) = [job for job in requested_resources(answer.stdout) if job["rule"] == "impact_search"]
    assert job["gpu"] == "2"
    command = r"led_pipeline\.jobs\.launch --gpu 2 --threads \d+ --plain -- led_pipeline\.search\.exact_lexicon"
    assert re.search(command, answer.stdout)
    without = changed(config, {"resources.search.gpu": 0})
    failed = clean.snakemake("led_final", "--dry-run", "--configfile", clean.write_config(without))
    assert (
        "search.lexicon: exact_gpu searches on the GPUs of resources.search.gpu, which is 0"
        in failed.stdout + failed.stderr
    )


@pytest.mark.parametrize(("rule", "stage"), [("train", "den_warmup"), ("masked_lm", "bow")])
def test_a_training_on_several_nodes_asks_for_gpus_by_node_and_calls_srun_itself(clean, rule, stage):
    bow = {"family": "masked_lm", "init": "org/model"}
    config = changed(PAPER, {"resources.train.nodes": 2, "stages.bow": bow})
    command = ("--dry-run", "--configfile", clean.write_config(config))
    answer = clean.snakemake(f"{RESULTS}/models/{stage}", *command, "--printshellcmds")
    (job,) = [job for job in requested_resources(answer.stdout) if job["rule"] == rule]
    expected = {"gpu": "0", "nodes": "2", "gres": "gpu:4", "mpi": "srun", "tasks": "2", "tasks_per_gpu": "0"}
    assert expected.items() <= job.items()
    assert "led_pipeline.jobs.launch --nodes 2 --gpu 4 " in answer.stdout


# --- mistakes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "dataset: {name: x, sorce: download}\nstages: {}\n",
            "recipe: dataset.sorce: no such key (did you mean source?)",
        ),
        ("{}", "recipe: dataset: this key is required"),
        (
            "stages:\n  led: {}\n  led: {}\n",
            "bad.yaml:3: stages.led: duplicate key, already in line 2; rename or remove one",
        ),
    ],
)
def test_a_bad_config_stops_with_an_error_and_starts_no_job(clean, text, sentence):
    (clean.folder / "bad.yaml").write_text(text)
    before = sorted(clean.folder.glob("results/**/*"))
    answer = clean.snakemake("led_final", "--cores", "1", "--configfile", "bad.yaml")
    assert answer.returncode == 1
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    assert "Building DAG" not in answer.stdout + answer.stderr
    assert sorted(clean.folder.glob("results/**/*")) == before


def test_a_setting_on_the_command_line_is_checked_too(clean):
    answer = clean.snakemake("led_final", "--dry-run", "--config", "sed=1")
    assert answer.returncode == 1
    assert "recipe: sed: no such key (did you mean seed?)" in answer.stdout + answer.stderr


# --- running

ASKING = {"led_pipeline.fetch.hub", "led_pipeline.plan.preflight"}


def test_jobs_import_the_package_of_their_checkout(finished):
    """Conda environments drop PYTHONPATH, so it must not come from the environment of the test."""
    assert (finished.folder / "pythonpath").read_text() == f"{finished.folder / 'src'}\n"


def test_only_preflight_and_fetch_jobs_may_contact_the_hub(finished):
    lines = set((finished.folder / "offline").read_text().splitlines())
    assert {line.split()[0] for line in lines if not line.endswith(" 1")} == ASKING
    assert len(lines) > 10


def test_a_finished_run_is_not_run_again(finished):
    assert finished.plan("led_final", config=SHORT).jobs == []


def test_only_a_deleted_file_is_made_again(finished):
    path = finished.folder / RESULTS / "vectors" / "led" / "passages.1.npy"
    content = path.read_bytes()
    path.unlink()
    try:
        plan = finished.plan(f"{RESULTS}/vectors/led/passages.1.npy", f"{RESULTS}/models/led", config=SHORT)
        assert plan.counts == {"encode_passages": 1}
    finally:
        path.write_bytes(content)


def test_only_the_lost_shard_of_a_search_is_searched_again(tmp_path):
    """A lost node costs one shard of the training queries; the index and the other shards stay."""
    workflow = WorkflowCopy(tmp_path)
    lost = "rankings/lex_warmup.train.1.parquet"
    answer = workflow.run_fake_jobs(SHORT, "--keep-going", FAIL_AT=f"--out {RESULTS}/{lost}", status=1)
    assert "Error in rule impact_search" in answer.stderr
    assert (tmp_path / RESULTS / "rankings" / "lex_warmup.train.0.parquet").exists()
    again = workflow.plan(f"{RESULTS}/pools/lex_warmup.parquet", config=SHORT)
    assert again.counts == {"impact_search": 1, "join_ranking": 1, "pool": 1}
    assert lost in again.triggered()


def test_intermediate_files_may_be_deleted_after_a_run(tmp_path):
    """Vectors, indexes, rankings and trainsets that no further target needs."""
    workflow = WorkflowCopy(tmp_path)
    workflow.run_fake_jobs(SHORT)
    for name in ("vectors", "index", "tokens", "trainsets", "pools", "rankings", "source"):
        shutil.rmtree(tmp_path / RESULTS / name)
    assert workflow.plan("led_final", config=SHORT).jobs == []


def test_a_dataset_of_one_shard_has_no_rankings_to_join(clean):
    plan = clean.plan(f"{RESULTS}/pools/bm25.parquet", config=changed(PAPER, {"dataset.shards": 1}))
    assert plan.counts["bm25_search"] == 1 and "join_ranking" not in plan.counts


def test_a_failed_job_stops_dependent_jobs_and_the_next_run_does_the_rest(tmp_path):
    workflow = WorkflowCopy(tmp_path)
    answer = workflow.run_fake_jobs(
        SHORT, "--keep-going", FAIL_AT="--out results/msmarco/models/lex_continue", status=1
    )
    assert "Error in rule train" in answer.stderr and "logs/msmarco/train/lex_continue.log" in answer.stderr
    results = tmp_path / RESULTS
    assert not (results / "models" / "lex_continue").exists(), "outputs of a failed job are removed"
    assert not (results / "trainsets" / "led" / "drawn.arrow").exists()
    assert (results / "eval" / "den_continue.dev.json").exists()
    again = Plan(workflow.run_fake_jobs(SHORT).stderr)
    assert again.counts["train"] == 3 and again.counts["pool"] == 1 and not again.counts["prepare_split"]
    assert "models/lex_continue" in again.outputs


def test_the_same_command_continues_a_killed_run(tmp_path):
    workflow = WorkflowCopy(tmp_path)
    command = workflow.command("led_final", *ALL_AT_ONCE, "--configfile", workflow.write_config(SHORT))
    options = workflow.options(fake=True, STOP_AT="--out results/msmarco/models/den_warmup")
    process = subprocess.Popen(
        command, **options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "waiting").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    second = workflow.run_fake_jobs(SHORT, "--rerun-incomplete", status=1)
    assert "Directory cannot be locked" in second.stderr and f"process {process.pid} on" in second.stderr
    process.kill()  # Snakemake alone
    process.wait()
    marker = tmp_path / RESULTS / "models" / "den_warmup" / "made"
    assert marker.exists(), "killed before the job had ended"
    left = marker.parent.with_name(f".den_warmup.{atomic._process_scope()}-{process.pid}-00000000.part")
    left.mkdir()
    again = Plan(workflow.run_fake_jobs(SHORT, "--rerun-incomplete").stderr)
    assert "models/den_warmup" in again.outputs, "an incomplete output is made again"
    assert not again.counts["prepare_passages"] and not again.counts["tokenise_passages"]
    assert not left.exists(), "unfinished files of ended processes are removed"


# --- what a change re-runs


def on(systems, pattern="rankings/{}.dev.parquet"):
    return {pattern.format(system) for system in systems}


def drawn(*stages):
    return {f"trainsets/{stage}/drawn.{suffix}" for stage in stages for suffix in ("arrow", "json")}


PASSAGES = {"prepared/passages.parquet", "prepared/passages.json"}
VALIDATED = "rankings/bm25.dev.top1000.parquet"  # the candidates of validations
MEASURED = on(SYSTEMS, "eval/{}.dev.json") | on(SYSTEMS, "eval/{}.dev.per_query.tsv")
TOKENS = {f"tokens/bert-base-uncased/{name}.arrow" for name in ("train", "dev", "passages.0", "passages.1")}

# The changed keys, and the files that re-run for that reason; their dependents follow, and nothing else runs. The
# report's copy of the recipe re-runs with every change except those of the machine.
CHANGES = {
    "learning rate of a stage": ({"stages.led.learning_rate": 1e-5}, {"models/led"}),
    "weight of a teacher": ({"stages.led.teachers.0.weight": 2.0}, {"models/led"}),
    "temperature of the second teacher": ({"stages.led_rt.teachers.1.temperature": 1.0}, {"models/led_rt"}),
    "candidates of the contrastive loss": ({"stages.led.contrastive_candidates": "own"}, {"models/led"}),
    "a regulariser and its warm-up": (
        {"stages.lex_continue.l1_queries": 0.1, "stages.lex_continue.regulariser_warmup": 9},
        {"models/lex_continue"},
    ),
    "scale of a teacher": ({"stages.led.teachers.0.scale": 30.0}, {"models/led"}),
    "scores of the batch instead of the trainset's": (
        {"stages.led.teachers.0.candidates": "batch"},  # the trainset loses a column, and the training follows
        {"trainsets/led/trainset.arrow"},
    ),
    "negatives per query": ({"stages.lex_continue.negatives_per_query": 7}, drawn("lex_continue")),
    "seed of a stage": ({"stages.led.seed": 7}, drawn("led")),  # its training follows
    "seed of all": ({"seed": 7}, drawn("den_warmup", "lex_warmup")),  # the other stages follow
    "epochs of all": ({"defaults.epochs": 4}, drawn("den_warmup", "lex_warmup")),
    "quantisation": ({"stages.lex_continue.quantisation": 50}, {"index/lex_continue"}),
    "BM25's k1 and b exchanged": ({"bm25": {"k1": 0.68, "b": 0.82}}, on(["bm25"]) | {VALIDATED}),
    "depth of mining": (
        {"mining.depth": 100},  # lex_continue's pool follows, since lex_warmup's gives its negatives
        {f"pools/{stage}.{suffix}" for stage in ("den_warmup", "lex_warmup") for suffix in ("parquet", "json")},
    ),
    "hits of mining": (
        {"mining.hits": 400},
        {f"rankings/{stage}.train.{shard}.parquet" for stage in ("den_warmup", "lex_warmup") for shard in range(2)},
    ),
    "depth of evaluation": ({"evaluation.depth": 2000}, on(sorted({*SYSTEMS} - {"ranker"}))),  # no model follows
    "depth of re-ranking": ({"stages.ranker.rerank.depth": 500}, on(["ranker"])),
    "length of the ranker's passages": ({"stages.ranker.passage_length": 200}, {"models/ranker"}),
    "precision of a stage's vectors": (
        {"stages.led.inference_precision": "bf16"},
        {f"vectors/led/{name}.npy" for name in ("dev", "passages.0", "passages.1")},
    ),
    "precision of the ranker": (
        {"stages.ranker.inference_precision": "float32"},
        on(["ranker"]) | {f"trainsets/led_rt/scores/ranker.{shard}.npy" for shard in range(2)},
    ),
    "grade that counts as relevant": ({"dataset.splits.dev.relevant_from": 2}, MEASURED),
    "how often is validated": ({"validation.every": 5000}, {"models/den_warmup", "models/lex_warmup"}),
    "no validation of a stage": ({"stages.led.validation": False}, {"models/led"}),
    "collection without titles": ({"dataset.titles": None}, PASSAGES),
    "repair of the encoding": ({"dataset.repair_encoding": True}, PASSAGES),  # and the queries, which follow passages
    "known defects": ({"dataset.skip": ["empty_text"]}, PASSAGES),
    "tokens that are kept": ({"dataset.max_tokens": 256}, TOKENS),
    "what the report compares": ({"evaluation.compare": []}, set()),
}


def check(plan, triggered, whole):
    """Check that a plan re-runs exactly these files and their dependents."""
    assert plan.triggered() == triggered
    assert plan.outputs == whole.downstream(triggered) & whole.outputs


@pytest.fixture(scope="module")
def whole(finished):
    """Plan all jobs of the recipe, to look up which files depend on which."""
    return finished.plan("led_final", "--forceall", config=SHORT)


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_reruns_exactly_its_dependents(finished, whole, case):
    changes, triggered = CHANGES[case]
    check(finished.plan("led_final", config=changed(SHORT, changes)), triggered | {"report/recipe.json"}, whole)


def test_another_validation_depth_ranks_for_validation_only_and_trains_again(finished):
    plan = finished.plan("led_final", config=changed(SHORT, {"validation.depth": 500}))
    assert plan.triggered() == {"rankings/bm25.dev.top500.parquet", "report/recipe.json"}
    assert {f"models/{stage}" for stage in TRAINED} <= plan.outputs
    assert not {"rankings/bm25.dev.parquet", VALIDATED} & plan.outputs


NO_CHANGES = {
    # another machine
    "resources.train": {"nodes": 2, "gpu": 4, "threads": 8, "mem_mb": 64_000, "runtime_min": 600}
    | {"accelerate": "config/accelerate/fsdp.yaml"},
    "resources.encode.gpu": 0,
    "resources.score.threads": 1,
    "resources.cpu.threads": 2,
    "stages.led.resources": {"gpu": 2},
    "stages.led.checkpoint_min": 5,
    "stages.led.checkpoint_steps": 50,
    "stages.led.tracking": ["tensorboard"],
    # another way to write the same
    "stages.led.deduplicate": False,
    "dataset.repair_encoding": False,
    "stages.led.learning_rate": 0.000005,
}


def test_another_machine_or_an_explicit_default_reruns_nothing(finished):
    assert finished.plan("led_final", config=changed(SHORT, NO_CHANGES)).jobs == []


def test_a_newer_or_missing_preflight_reruns_nothing(finished):
    path = finished.folder / RESULTS / "preflight.json"
    content = path.read_bytes()
    path.write_text("another one\n")
    try:
        assert finished.plan("led_final", config=SHORT).jobs == []
        assert finished.plan("preflight", "led_final", "--forcerun", "preflight", config=SHORT).counts == {
            "preflight": 1
        }
        path.unlink()
        assert finished.plan("led_final", config=SHORT).jobs == []
    finally:
        path.write_bytes(content)


def test_a_validation_by_another_measure_trains_again_and_the_default_does_not(finished):
    assert "train" not in finished.plan("led_final", config=changed(SHORT, {"validation.measure": "MRR@10"})).counts
    plan = finished.plan("led_final", config=changed(SHORT, {"validation.measure": "nDCG@10"}))
    assert plan.counts["train"] == len([s for s in SHORT["stages"].values() if s.get("train", True)])


def test_a_validation_on_judged_passages_needs_no_search(tmp_path):
    judged = WorkflowCopy(tmp_path).plan("led_final", config=changed(SHORT, {"validation.system": "qrels"}))
    assert not [file for file in judged.outputs if ".top" in file]
    assert "train" in judged.counts


def test_exclude_query_id_reaches_the_validation_of_a_training(clean):
    config = clean.write_config(changed(SHORT, {"dataset.exclude_query_id": True}))
    command = (f"{RESULTS}/models/den_warmup", "--dry-run", "--printshellcmds", "--configfile", config)
    output = clean.snakemake(*command).stdout
    assert '"exclude_query_id": true' in output and "--hits 1001" in output


def test_another_search_backend_rebuilds_the_indexes_with_its_own_commands(finished):
    node = changed(SHORT, {"search": {"backend": "opensearch"}})
    arguments = ("led_final", "--dry-run", "--printshellcmds", "--configfile", finished.write_config(node))
    answer = finished.snakemake(*arguments)
    plan = Plan(answer.stdout)
    assert "index/bm25" in plan.triggered()
    assert {"index/lex_warmup", "index/lex_continue"} <= plan.outputs
    assert "search.anserini" not in answer.stdout
    (command,) = re.findall(r"led_pipeline\.search\.opensearch bm25-index .*", answer.stdout)
    assert "--k1 0.82 --b 0.68" in command or "--k1 0.9 --b 0.4" in command


def test_exact_lexicon_search_changes_the_commands_of_lexicon_stages_alone(finished):
    exact = changed(SHORT, {"search": {"lexicon": "exact"}})
    arguments = ("led_final", "--dry-run", "--printshellcmds", "--configfile", finished.write_config(exact))
    answer = finished.snakemake(*arguments)
    plan = Plan(answer.stdout)
    assert set(plan.triggered()) == {"index/lex_warmup", "report/recipe.json"}
    assert {"index/lex_warmup", "index/lex_continue"} <= plan.outputs and "index/bm25" not in plan.outputs
    commands = re.findall(r"led_pipeline\.search\.(\w+) (impact-\w+)", answer.stdout)
    assert set(commands) == {("exact_lexicon", "impact-index"), ("exact_lexicon", "impact-search")}


def test_a_gate_adds_one_job_and_reruns_nothing(finished):
    plan = finished.plan("led_final", config=changed(SHORT, {"evaluation.gate": True}))
    assert plan.counts == {"gate": 1, "led_final": 1}


def test_a_failed_preflight_starts_no_job_and_removes_no_result(tmp_path):
    workflow = WorkflowCopy(tmp_path)
    answer = workflow.run_fake_jobs(SHORT, FAIL_AT="led_pipeline.plan.preflight", status=1)
    assert "Cannot restore" not in answer.stderr, "there was none"
    files = [path.name for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert files in ([], ["recipe.json"])
    workflow.run_fake_jobs(SHORT)
    more = changed(SHORT, {"stages.led.seed": 7})
    answer = workflow.run_fake_jobs(more, FAIL_AT="led_pipeline.plan.preflight", status=1)
    assert not Plan(answer.stderr).jobs, "a run that goes on is checked before its first job"
    workflow.run_fake_jobs(SHORT, "--forcerun", "preflight", FAIL_AT="--out results/msmarco/preflight.json", status=1)
    assert (tmp_path / RESULTS / "preflight.json").exists(), "all that depends on it would be made again"
    assert workflow.plan("led_final", config=SHORT).jobs == []


def test_a_new_stage_makes_its_own_files_and_the_report(finished):
    extra = {"family": "dense", "init": "den_warmup", "negatives": ["lex_warmup"], "learning_rate": 1e-5}
    plan = finished.plan("led_final", config=changed(SHORT, {"stages.extra": extra}))
    once = ("draw", "trainset", "train", "encode_queries", "dense_search", "run_file", "measure")
    assert plan.counts == dict.fromkeys(once, 1) | {
        "encode_passages": 2,
        "resolved_recipe": 1,
        "report": 1,
        "led_final": 1,
    }
    assert all("extra" in file or file.startswith("report/") for file in plan.outputs)


def test_another_number_of_shards_reruns_only_sharded_steps_and_their_dependents(finished):
    """The number of shards changes files but no result; jobs that read these files run again."""
    plan = finished.plan("led_final", config=changed(SHORT, {"dataset.shards": 3}))
    spared = ["source/*", "prepared/*", "index/bm25", "rankings/bm25.*", "*/bm25.*", "pools/bm25_official.*"]
    spared += ["models/ranker", "tokens/*/[!p]*.arrow", "trainsets/*_warmup/drawn.*"]
    assert not [file for file in plan.outputs for pattern in spared if fnmatch(file, pattern)]
    assert plan.counts["tokenise_passages"] == 3
    assert plan.counts["score_with_vectors"] == 2 * 3


def test_a_training_waits_for_the_vectors_of_its_teachers(clean):
    teacher = {"stages": ["lex_continue", "den_continue"], "loss": "kl", "candidates": "batch"}
    config = changed(SHORT, {"stages.led.teachers.0": teacher})
    (job,) = [job for job in clean.plan("led_final", config=config).jobs if job.outputs == {"models/led"}]
    vectors = {
        f"vectors/{stage}/{part}.{suffix}"
        for stage, suffix in (("lex_continue", "arrow"), ("den_continue", "npy"))
        for part in ("train", "passages.0", "passages.1")
    }
    assert vectors <= job.inputs
    assert not [file for file in job.inputs if "scores" in file]


def test_an_edited_title_file_rebuilds_the_passages(finished, whole):
    path = finished.folder / RESULTS / "source" / "titles.tsv"
    content, times = path.read_bytes(), path.stat()
    path.write_text("0\tAnother title\n")
    try:
        check(finished.plan("led_final", config=SHORT), PASSAGES, whole)
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_another_title_file_is_fetched_and_rebuilds_the_passages(finished, whole):
    titles = "titles.tevatron.jsonl.gz"
    plan = finished.plan("led_final", config=changed(SHORT, {"dataset.titles": titles}))
    assert plan.counts["download"] == 1 and f"source/{titles}" in plan.outputs
    assert plan.outputs - {f"source/{titles}", "report/recipe.json"} == whole.downstream(PASSAGES) & whole.outputs - {
        "report/recipe.json"
    }


def test_a_mirror_reruns_nothing(finished, monkeypatch):
    monkeypatch.setenv("LED_MIRROR", "file:/data/msmarco")
    assert finished.plan("led_final", config=SHORT).jobs == []


def test_a_raised_version_reruns_its_step(finished, whole):
    path = finished.folder / "src" / "led_pipeline" / "versions.py"
    text = path.read_text()
    path.write_text(text.replace(f'"evaluate": {VERSIONS["evaluate"]}', '"evaluate": 1000'))
    try:
        check(finished.plan("led_final", config=SHORT), on(SYSTEMS, "runs/{}.dev.trec"), whole)
    finally:
        path.write_text(text)


def test_every_rule_has_the_version_of_its_step():
    used = Counter()
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for block in re.split(r"^ *rule ", path.read_text(), flags=re.M)[1:]:
            rule, _, body = block.partition(":")
            steps = [step for step in VERSIONS if f'version=version("{step}")' in body]
            assert len(steps) == 1 or rule in ("resolved_recipe", "preflight"), f"{path.name}: {rule}"
            used.update(steps)
    assert used.keys() == VERSIONS.keys()


def test_every_path_in_a_command_is_quoted_and_every_param_names_its_option():
    """Snakemake compares all params of a rule as one set of values, so every value must include its option."""
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        commands = re.findall(r"^ *shell:\n((?: *f?\".*\"\n)+)", path.read_text(), flags=re.M)
        assert commands or path.name in ("common.smk", "contents.smk", "start.smk")
        for command in commands:
            fields = re.findall(r"\{((?:input|output|log|wildcards)[^{}]*)\}", command)
            assert not [field for field in fields if not field.endswith(":q")], path.name
            assert not re.findall(r"--[\w-]+ (?:\"\s+\")?\{+params", command), path.name

"""What the rules share: the checked recipe, path patterns, and functions of wildcards."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

SOURCE = str(Path(workflow.basedir, "src"))
sys.path.insert(0, SOURCE)
# Jobs find the package in a conda environment, too, which holds only what it depends on. Snakemake takes PYTHONPATH
# away from such jobs, so it is set inside of them; the first part is Snakemake's own prefix. No job but those in
# preflight.smk asks a model hub for anything: compute nodes often have no internet.
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={shlex.quote(SOURCE)}${{{{PYTHONPATH:+:$PYTHONPATH}}}}"
    " HUB_OFFLINE=${{HF_HUB_OFFLINE:-0}} HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1; "
)

from led_pipeline import hub, own_code
from led_pipeline.files import InputError
from led_pipeline.files_yaml import repeated_keys
from led_pipeline.recipe import Recipe
from led_pipeline.recipe_stages import LABELS, READS
from led_pipeline.versions import VERSIONS

try:
    for path in workflow.configfiles:
        for fault in repeated_keys(Path(path)):
            raise InputError(fault)
    RECIPE = Recipe.load(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

DATASET = RECIPE.dataset
ROOT = f"results/{DATASET.name}"
LOGS = f"logs/{DATASET.name}"
SHARDS = range(DATASET.shards)
ENV = "../../envs/led.yaml"
CONFIG = os.path.relpath(os.path.join(workflow.basedir, "config"))  # for the files that come with the workflow
# One rule makes the stages that are trained, another takes over those that are used as they are.
PRETRAINED = RECIPE.names("pretrain")
IMPORTED = [n for n in RECIPE.names("dense", "lexicon", "ranker") if not RECIPE.stages[n].train]
TRAINED = [n for n in RECIPE.names("dense", "lexicon", "ranker") if RECIPE.stages[n].train]


def any_of(names):
    """A wildcard pattern that matches exactly these names (nothing, where there are none)."""
    return "|".join(names) or "(?!)"


def slug(tokenizer):
    """A tokenizer's name as a folder: the stage that makes it, or its hub id or path without odd characters."""
    return tokenizer if tokenizer in RECIPE.stages else re.sub(r"[^A-Za-z0-9.-]+", "_", tokenizer).strip("_.")


HUB = {hub.slug(model.name): model for model in hub.hub_models(RECIPE)}
PREFLIGHT = f"{ROOT}/preflight.json"
TOKENIZERS = {slug(t): t for t in {RECIPE.tokenizer, *map(RECIPE.tokenizer_of, RECIPE.stages)}}


def query_parts(split):
    """What the queries of a split are searched in: the train queries in shards, those of other splits, few, as one."""
    return [f"train.{shard}" for shard in SHARDS] if split == "train" and len(SHARDS) > 1 else [split]


# What trainings are validated on is searched for itself, so that the depth of the evaluation changes no model.
VALIDATED = RECIPE.validation and f"{RECIPE.validation.split}.top{RECIPE.validation.depth}"
PARTS = [part for split in DATASET.splits for part in query_parts(split)] + [VALIDATED] * bool(VALIDATED)


wildcard_constraints:
    stage=any_of(RECIPE.stages),
    system=any_of([*RECIPE.systems, *DATASET.negatives, *DATASET.scores, LABELS]),
    split=any_of(DATASET.splits),
    part=any_of(map(re.escape, PARTS)),
    shard=any_of(map(str, SHARDS)),
    tokenizer=any_of(map(re.escape, TOKENIZERS)),
    model=any_of(map(re.escape, HUB)),


def as_json(value):
    return json.dumps(value, sort_keys=True)


def settings(step):
    """Exactly the settings of the wildcard's stage that this step's output depends on."""
    return lambda wildcards: as_json(RECIPE.settings(step, wildcards.stage))


def inference_precision(wildcards):
    """The type of the products of the model that makes vectors or scores, where the recipe names one."""
    model = wildcards.get("system", wildcards.get("stage"))
    named = RECIPE.settings("inference", model)["inference_precision"]
    return f"--precision {named}" if named else ""


def version(step):
    """A step's number. Snakemake compares the values of all params as one set, so the name keeps it from others."""
    return f"{step} {VERSIONS[step]}"


def job(kind, field):
    """What jobs of a kind ask for; a stage's own `resources` apply to its training."""
    return lambda wildcards: getattr(RECIPE.job(kind, wildcards.get("stage")), field)


def across_nodes(several, one=None):
    """A resource of trainings on several nodes, a function of what they ask for; `one` does it for one node.

    With the resource `mpi` the SLURM executor leaves srun to the command. GPUs are then asked for by node (gres), since
    SLURM deals a job's total out unevenly, and `tasks` must not become tasks per GPU.
    """

    def resource(wildcards):
        asked = RECIPE.job("train", wildcards.stage)
        return several(asked) if asked.nodes > 1 else one and one(asked)

    return resource


def gpus_of_a_node(wildcards, resources):
    """GPUs that a training takes on each node; a function of `resources`, so a change re-runs nothing."""
    return resources.gpu if resources.nodes == 1 else RECIPE.job("train", wildcards.stage).gpu


def source(name):
    """Where a file of the dataset lies: the user's folder, or source/ for what is downloaded or made."""
    folder = DATASET.folder if DATASET.source == "folder" else f"{ROOT}/source"
    return os.path.join(folder, name)


def source_file(name):
    """The file to wait for: the one that `source` names, or the archive that holds it."""
    return DATASET.folder if DATASET.zipped else source(name)


def template(side):
    """How a text is made of a record's fields, where the recipe says so."""
    text = getattr(DATASET.templates, side)
    return f"--template {shlex.quote(text)} --missing {DATASET.templates.missing}" if text else ""


def selected(wildcards):
    """Which of a split's queries are kept; training takes those with a relevant passage only."""
    split = DATASET.splits[wildcards.split]
    held_out = DATASET.held_out(wildcards.split)
    arguments = ["--positive"] if "train" in (wildcards.split, split.sample_of) else []
    arguments += [f"--limit {split.limit}"] if split.limit else []
    arguments += [f"--held-out {held_out}"] if held_out else []
    return " ".join(arguments + ([f"--seed {RECIPE.seed}"] if split.limit or held_out else []))


EXCLUDE = "--drop-same-id" if DATASET.exclude_query_id else ""


def model_input(name):
    """The model folder to wait for, of a stage or from the hub; nothing where a name is a path."""
    return [model_argument(name)] if name and (name in RECIPE.stages or hub.slug(name) in HUB) else []


def model_argument(name):
    """What a command gets for a name: the stage's folder, that of what came from the hub, or a path."""
    if name in RECIPE.stages:
        return f"{ROOT}/models/{name}"
    return str(hub.folder(ROOT, name)) if hub.slug(name) in HUB else name


def query_init(wildcards):
    """What a stage's own query encoder starts from, where that is not `init`."""
    return getattr(RECIPE.stages[wildcards.stage], "query_init", None)


def query_init_argument(wildcards):
    return f"--query-init {shlex.quote(model_argument(query_init(wildcards)))}" if query_init(wildcards) else ""


def idf(wildcards):
    """The table of query weights of a stage: a file, "collection", or None."""
    return getattr(RECIPE.stages[wildcards.stage], "idf", None)


def own_files(step):
    """Files of the user's that a step's settings of the wildcard's stage name: code, a table."""
    return lambda wildcards: own_code.files(RECIPE.settings(step, wildcards.stage))


def tokenizer_argument(wildcards):
    return model_argument(RECIPE.tokenizer_of(wildcards.stage))


def token_shards(stage):
    """The token files of the collection for a stage's tokenizer, in order."""
    return expand(f"{ROOT}/tokens/{slug(RECIPE.tokenizer_of(stage))}/passages.{{shard}}.arrow", shard=SHARDS)


def token_split(stage, split):
    return f"{ROOT}/tokens/{slug(RECIPE.tokenizer_of(stage))}/{split}.arrow"


def vector_suffix(stage):
    return {"dense": "npy", "lexicon": "arrow"}[RECIPE.stages[stage].family]


def vector_shards(stage):
    return expand(f"{ROOT}/vectors/{stage}/passages.{{shard}}.{vector_suffix(stage)}", shard=SHARDS)


def vector_split(stage, split):
    return f"{ROOT}/vectors/{stage}/{split}.{vector_suffix(stage)}"


def split_of(wildcards):
    return wildcards.part.partition(".")[0]


def query_shard(wildcards):
    """Which of the shards of its split's queries a part is; nothing where it is all of them."""
    shard = wildcards.part.partition(".")[2]
    return f"--shard {shard} --shards {len(SHARDS)}" if shard.isdigit() else ""


def hits(wildcards):
    """How many passages to rank: what mining needs for the train queries, what its reader needs otherwise."""
    own = int(DATASET.exclude_query_id)  # one more, since it is left out again
    if wildcards.part == VALIDATED:
        return RECIPE.validation.depth + own
    return own + (RECIPE.mining.hits if split_of(wildcards) == "train" else RECIPE.evaluation.depth)


def quantisation(wildcards):
    return RECIPE.stages[wildcards.system].quantisation


def rerank(wildcards):
    """The system whose best passages a ranker scores, and how many of them."""
    return RECIPE.stages[wildcards.system].rerank


def pool_inputs(wildcards):
    return [f"{ROOT}/pools/{system}.parquet" for system in RECIPE.stages[wildcards.stage].negative_systems]


def scored(wildcards):
    """The stored scores that negatives must have, where a stage asks for that."""
    stage = RECIPE.stages[wildcards.stage]
    names = [name for name in RECIPE.teachers(wildcards.stage, in_batch=False) if name in DATASET.scores]
    return [f"{ROOT}/rankings/{name}.train.parquet" for name in names] if stage.only_scored else []


def more_positives(wildcards):
    """The stored scores that make further positives, where a stage asks for that."""
    more = RECIPE.stages[wildcards.stage].more_positives
    return [f"{ROOT}/rankings/{more.scores}.train.parquet"] if more else []


def score_files(wildcards):
    """Every teacher's scores of a stage's drawn passages, by shard."""
    return {
        teacher: expand(f"{ROOT}/trainsets/{wildcards.stage}/scores/{teacher}.{{shard}}.npy", shard=SHARDS)
        for teacher in RECIPE.teachers(wildcards.stage, in_batch=False)
    }


def score_arguments(wildcards):
    return " ".join(f"--scores {name} {' '.join(files)}" for name, files in score_files(wildcards).items())


def vector_files(wildcards):
    """The vectors of every teacher that scores all passages of a batch: of the train queries, then of the passages."""
    return {
        f"vectors_of_{teacher}": [vector_split(teacher, "train"), *vector_shards(teacher)]
        for teacher in RECIPE.teachers(wildcards.stage, in_batch=True)
    }


def vector_arguments(wildcards):
    return " ".join(
        f"--teacher-vectors {name.removeprefix('vectors_of_')} {' '.join(files)}"
        for name, files in vector_files(wildcards).items()
    )


def validation_inputs(wildcards):
    """What re-ranking a few queries during training needs, where the recipe asks for it."""
    if not RECIPE.validates(wildcards.stage):
        return {}
    split, system = RECIPE.validation.split, RECIPE.validation.system
    part = split if system in RECIPE.names("ranker") else VALIDATED
    searched = RECIPE.validates_by_search(wildcards.stage)
    ranking = {"validation_ranking": f"{ROOT}/rankings/{system}.{part}.parquet"} if searched else {}
    return ranking | {
        "validation_queries": token_split(wildcards.stage, split),
        "validation_qrels": f"{ROOT}/prepared/{split}.qrels",
        "validation_ids": [f"{ROOT}/prepared/{split}.queries.parquet", f"{ROOT}/prepared/passages.parquet"],
    }


def validation_arguments(wildcards):
    if not RECIPE.validates(wildcards.stage):
        return ""
    asked = RECIPE.validation.model_dump() | {"exclude_query_id": DATASET.exclude_query_id}
    arguments = [f"--validation {shlex.quote(as_json(asked))}"]
    for key, files in validation_inputs(wildcards).items():
        arguments += [f"--{key.replace('_', '-')}", *([files] if isinstance(files, str) else files)]
    return " ".join(arguments)


def sparse_vectors(wildcards):
    """The vectors whose sparsity is measured: those of a lexicon stage."""
    if wildcards.system not in RECIPE.names("lexicon"):
        return {}
    queries, passages = vector_split(wildcards.system, wildcards.split), vector_shards(wildcards.system)
    return {"query_vectors": queries, "passage_vectors": passages}


def sparse_vector_arguments(wildcards, input):
    if not input.get("query_vectors"):
        return ""
    return f"--query-vectors {input.query_vectors} --passage-vectors {input.passage_vectors}"


def preflight_arguments(wildcards=None, output=None):
    """The recipe, where its files are, what jobs run with (local, slurm), and what `--resources gpu=N` leaves to a job."""
    limit = getattr(workflow.resource_settings.resources.get("gpu"), "value", None)
    executor = workflow.executor_plugin.name if workflow.executor_plugin else "local"
    arguments = ["--recipe", RECIPE.model_dump_json(exclude={"defaults"}), "--results", ROOT]
    arguments += ["--sources", os.path.join(CONFIG, "sources.yaml"), "--executor", executor]
    arguments += ["--published", os.path.join(CONFIG, "published.yaml")]
    return shlex.join(arguments + ([] if limit is None else ["--gpu-limit", str(limit)]))


def check_again():
    """The preflight of a run that goes on: the rule made its file long ago, perhaps on another machine."""
    in_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    if in_conda or not os.path.exists(PREFLIGHT):  # where jobs have an environment of their own, only the rule can look
        return
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))}
    command = ["python", "-m", "led_pipeline.plan.preflight", *shlex.split(preflight_arguments())]
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if answer.returncode:
        raise WorkflowError(answer.stdout)

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
from snakemake_interface_executor_plugins.settings import ExecMode

SOURCE = str(Path(workflow.basedir, "src"))
sys.path.insert(0, SOURCE)
if odd := [character for character in (os.pathsep, "{", "}") if character in SOURCE]:
    raise WorkflowError(
        f"{workflow.basedir}: the workflow cannot lie in a folder with '{odd[0]}' in its path, which PYTHONPATH or Snakemake"
        " reads in a way of its own; move or rename the folder (data and results may have any name)"
    )
# Jobs find the package in a conda environment, too, which holds only what it depends on. Snakemake takes PYTHONPATH
# away from such jobs, so it is set inside of them. No job but those in preflight.smk asks a model hub for anything:
# compute nodes often have no internet. PYTHONUTF8: the locale of a job may know ASCII only (LC_ALL=C), its texts and
# paths need not. torch looks for compiled code beside Snakemake's own files, not in a folder of /tmp that anybody can make
# first. First of all, a job's shell becomes one that ends with this Snakemake, which formats the prefix once.
TIE = os.path.join(workflow.basedir, "workflow", "scripts", "tied.sh")
FIRST, TIED = (
    text.replace("{", "{{").replace("}", "}}")
    for text in (shlex.quote(SOURCE), shlex.join([TIE, sys.executable, str(os.getpid())]))
)
shell.prefix(
    f". {TIED}; set -euo pipefail; export PYTHONPATH={FIRST}${{{{PYTHONPATH:+:$PYTHONPATH}}}}"
    " PYTHONUTF8=1 HUB_OFFLINE=${{HF_HUB_OFFLINE:-0}} HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"
    ' TORCHINDUCTOR_CACHE_DIR="${{TORCHINDUCTOR_CACHE_DIR:-$PWD/.snakemake/led/torchinductor}}"; '
)

from led_pipeline.data.contents import Contents
from led_pipeline.fetch import hub
from led_pipeline.fetch.sources import read_source
from led_pipeline.files import folder_names
from led_pipeline.files.digests import digest
from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import repeated_keys
from led_pipeline.jobs.run_lock import Run
from led_pipeline.recipe.load import load_recipe, trained_in
from led_pipeline.recipe.settings import Running
from led_pipeline.recipe.schema import QRELS
from led_pipeline.versions import VERSIONS


def speaking(function, *arguments):
    """What a function returns; what the user gave wrong ends the run with a sentence, not a traceback."""
    try:
        return function(*arguments)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def checked_recipe():
    for path in workflow.configfiles:
        for fault in repeated_keys(Path(path)):
            raise InputError(fault)
    # Code of the user's that a finished stage learned with may have been moved since.
    quiet = not workflow.is_main_process
    return load_recipe(config, trained=lambda dataset: trained_in(f"results/{dataset}"), quiet=quiet)


RECIPE = speaking(checked_recipe)
DATASET = RECIPE.dataset
ROOT = f"results/{DATASET.name}"
LOGS = f"logs/{DATASET.name}"
# Not for the Snakemakes that a run starts for its jobs.
RUN = Run(ROOT) if workflow.is_main_process else None
SHARDS = range(DATASET.shards)
ENV = "../../envs/led.yaml"
# The files that come with the workflow.
SOURCES, PUBLISHED = (
    os.path.relpath(os.path.join(workflow.basedir, "config", name)) for name in ("sources.yaml", "published.yaml")
)
# One rule makes the stages that are trained, another takes over those that are used as they are.
PRETRAINED = RECIPE.names("pretrain")
IMPORTED = [n for n in RECIPE.names("dense", "lexicon", "ranker") if not RECIPE.stages[n].train]
TRAINED = [n for n in RECIPE.names("dense", "lexicon", "ranker") if RECIPE.stages[n].train]


def any_of(names):
    """A wildcard pattern that matches exactly these names (nothing, where there are none)."""
    return "|".join(names) or "(?!)"


def slug(tokenizer):
    """A tokenizer's name as that of a folder."""
    return folder_names.of_tokenizer(tokenizer, RECIPE.stages, hub.is_local(tokenizer))


HUB = {model.name: hub.slug(model.name) for model in hub.hub_models(RECIPE)}
TOKENIZERS = {t: slug(t) for t in dict.fromkeys([RECIPE.tokenizer, *map(RECIPE.tokenizer_of, RECIPE.stages)])}
for folders in (HUB, {os.path.relpath(t) if hub.is_local(t) else t: name for t, name in TOKENIZERS.items()}):
    speaking(folder_names.check, folders)
HUB_MODELS = {hub.slug(model.name): model for model in hub.hub_models(RECIPE)}
TOKENIZER_OF = {folder: tokenizer for tokenizer, folder in TOKENIZERS.items()}
PREFLIGHT = f"{ROOT}/preflight.json"


def query_parts(split):
    """What the queries of a split are searched in: the train queries in shards, those of other splits, few, as one."""
    return [f"train.{shard}" for shard in SHARDS] if split == "train" and len(SHARDS) > 1 else [split]


# What trainings are validated on is searched for itself, so that the depth of the evaluation changes no model.
VALIDATED = RECIPE.validation and f"{RECIPE.validation.split}.top{RECIPE.validation.depth}"
PARTS = [part for split in DATASET.splits for part in query_parts(split)] + [VALIDATED] * bool(VALIDATED)


wildcard_constraints:
    stage=any_of(RECIPE.stages),
    system=any_of([*RECIPE.systems, *DATASET.negatives, *DATASET.scores, QRELS]),
    split=any_of(DATASET.splits),
    part=any_of(map(re.escape, PARTS)),
    shard=any_of(map(str, SHARDS)),
    tokenizer=any_of(map(re.escape, TOKENIZER_OF)),
    model=any_of(map(re.escape, HUB_MODELS)),


def as_json(value):
    return json.dumps(value, sort_keys=True)


def option(name, *values):
    """An option of a command with its values, quoted.

    Snakemake compares the values of all params of a rule as one set, so none may be mistaken for another's; and no path
    or text of the user's may mean something to the shell.
    """
    return shlex.join([name, *map(str, values)])


def settings(step):
    """Exactly the settings of the wildcard's stage that this step's output depends on, by name."""
    return lambda wildcards: option("--settings", as_json(RECIPE.settings(step, wildcards.stage)))


def settings_and_paths(step):
    """The same, where they may name files of the user's: `content` says what re-runs the rule in place of their paths."""
    return lambda wildcards, output: settings(step)(wildcards)


CONTENTS = Contents(f"{ROOT}/provenance/contents.json")


def content_of(path):
    """The bytes of a file of the user's in place of its path and date; its ending may say how to read them."""
    return CONTENTS.file(path) + "".join(Path(path).suffixes)


def content(**parts):
    """A param that re-runs a rule where something that the user names has been replaced, whatever its date.

    It is compared where runs are planned, on the machine that starts them; jobs elsewhere need not read anything.
    """
    if workflow.exec_mode != ExecMode.DEFAULT:
        return ""
    try:
        return as_json({"content": {name: value() for name, value in parts.items()}})
    except InputError as error:
        sys.exit(f"error: {error}")  # Snakemake would add a traceback to any other exception in a param


def content_of_files(**names):
    """`content` of files in the user's folder; others are inputs of the rule, since a rule makes them."""
    own = {name: file for name, file in names.items() if file and DATASET.source == "folder"}
    return content(**{name: lambda file=file: content_of(source(file)) for name, file in own.items()})


def content_of_model(name, without=()):
    """What a name stands for: a stage, a model of the hub, or what a local folder holds."""
    if not name or name in RECIPE.stages or name in HUB:
        return name
    return CONTENTS.folder(name, without)


def content_of_tokenizer(name):
    """The same of a tokenizer: weights beside it do not count."""
    return content_of_model(name, hub.WEIGHTS)


def content_of_stage(step):
    """All that a model is made of besides the outputs of other rules."""
    return lambda wildcards: content(
        settings=lambda: RECIPE.settings(step, wildcards.stage, content_of),
        init=lambda: content_of_model(RECIPE.stages[wildcards.stage].init),
        query_init=lambda: content_of_model(query_init(wildcards)),
        tokenizer=lambda: content_of_tokenizer(RECIPE.tokenizer_of(wildcards.stage)),
    )


def inference_precision(wildcards):
    """The type of the products of the model that makes vectors or scores, where the recipe names one."""
    model = wildcards.get("system", wildcards.get("stage"))
    named = RECIPE.settings("inference", model)["inference_precision"]
    return option("--precision", named) if named else ""


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
    return option("--gpu", resources.gpu if resources.nodes == 1 else RECIPE.job("train", wildcards.stage).gpu)


def source(name):
    """Where a file of the dataset lies: the user's folder, or source/ for what is downloaded or made."""
    folder = DATASET.folder if DATASET.source == "folder" else f"{ROOT}/source"
    return os.path.join(folder, name)


def published_file(name):
    """Which published file a name means: by its checksum, or else by where it is; a mirror changes neither."""
    entry = speaking(read_source, Path(SOURCES), name)
    return as_json({"published": entry.checksums or entry.url[0], "member": entry.member})


def source_file(name):
    """The file to wait for, where a rule makes it; the user's own is followed by its content."""
    return [] if DATASET.source == "folder" or not name else source(name)


def template(side):
    """How a text is made of a record's fields, where the recipe says so."""
    text = getattr(DATASET.templates, side)
    return shlex.join(["--template", text, "--missing", DATASET.templates.missing]) if text else ""


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
    return [model_argument(name)] if name and (name in RECIPE.stages or name in HUB) else []


def model_argument(name):
    """What a command gets for a name: the stage's folder, that of what came from the hub, or a path."""
    if name in RECIPE.stages:
        return f"{ROOT}/models/{name}"
    return str(hub.folder(ROOT, name)) if name in HUB else name


def query_init(wildcards):
    """What a stage's own query encoder starts from, where that is not `init`."""
    return getattr(RECIPE.stages[wildcards.stage], "query_init", None)


# Functions of `output`, so that a path alone re-runs nothing; `content` does.
def init_argument(wildcards, output):
    return option("--init", model_argument(RECIPE.stages[wildcards.stage].init))


def query_init_argument(wildcards, output):
    return option("--query-init", model_argument(query_init(wildcards))) if query_init(wildcards) else ""


def tokenizer_argument(wildcards, output):
    name = RECIPE.tokenizer_of(wildcards.stage) if "stage" in wildcards.keys() else TOKENIZER_OF[wildcards.tokenizer]
    return option("--tokenizer", model_argument(name))


def idf(wildcards):
    """The table of query weights of a stage: a file, "collection", or None."""
    return getattr(RECIPE.stages[wildcards.stage], "idf", None)


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
    return shlex.join(["--shard", shard, "--shards", str(len(SHARDS))]) if shard.isdigit() else ""


def hits(wildcards):
    """How many passages to rank: what mining needs for the train queries, what its reader needs otherwise."""
    depth = RECIPE.mining.hits if split_of(wildcards) == "train" else RECIPE.evaluation.depth
    if wildcards.part == VALIDATED:
        depth = RECIPE.validation.depth
    return option("--hits", depth + int(DATASET.exclude_query_id))  # one more, since it is left out again


def quantisation(wildcards):
    return option("--quantisation", RECIPE.stages[wildcards.system].quantisation)


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
    return " ".join(option("--scores", name, *files) for name, files in score_files(wildcards).items())


def vector_files(wildcards):
    """The vectors of every teacher that scores all passages of a batch: of the train queries, then of the passages."""
    return {
        f"vectors_of_{teacher}": [vector_split(teacher, "train"), *vector_shards(teacher)]
        for teacher in RECIPE.teachers(wildcards.stage, in_batch=True)
    }


def vector_arguments(wildcards):
    return " ".join(
        option("--teacher-vectors", name.removeprefix("vectors_of_"), *files)
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
    arguments = [option("--validation", as_json(asked))]
    for key, files in validation_inputs(wildcards).items():
        arguments.append(option(f"--{key.replace('_', '-')}", *([files] if isinstance(files, str) else files)))
    return " ".join(arguments)


def sparse_vectors(wildcards):
    """The vectors whose sparsity is measured: those of a lexicon stage."""
    if wildcards.system not in RECIPE.names("lexicon"):
        return {}
    queries, passages = vector_split(wildcards.system, wildcards.split), vector_shards(wildcards.system)
    return {"query_vectors": queries, "passage_vectors": passages}


def sparse_vector_arguments(wildcards, input):
    files = sparse_vectors(wildcards)
    return (
        option("--query-vectors", files["query_vectors"], "--passage-vectors", *files["passage_vectors"])
        if files
        else ""
    )


def preflight_arguments(wildcards=None, output=None):
    """The recipe, where its files are, what jobs run with (local, slurm), and what `--resources gpu=N` leaves to a job."""
    limit = getattr(workflow.resource_settings.resources.get("gpu"), "value", None)
    executor = workflow.executor_plugin.name if workflow.executor_plugin else "local"
    arguments = ["--recipe", RECIPE.model_dump_json(exclude={"defaults"}), "--results", ROOT]
    arguments += ["--sources", SOURCES, "--published", PUBLISHED, "--executor", executor]
    return shlex.join(arguments + ([] if limit is None else ["--gpu-limit", str(limit)]))


def begin():
    """Say what computes the jobs, and remove what killed ones have left; Snakemake holds its lock by now."""
    if RUN:
        RUN.started(workflow.executor_plugin.name)


def check_again():
    """The preflight of a run that goes on: the rule made its file long ago, perhaps on another machine."""
    in_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    if in_conda or not os.path.exists(PREFLIGHT):  # where jobs have an environment of their own, only the rule can look
        return
    path = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1", "LED_PARENT": str(os.getpid())}
    command = ["python", "-m", "led_pipeline.plan.preflight", *shlex.split(preflight_arguments())]
    answer = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    if answer.returncode:
        raise WorkflowError(answer.stdout)

"""Shared by the rules: the checked recipe, the paths of its files, and functions that need Snakemake."""

import re
import shlex
import sys
from pathlib import Path

SOURCE = os.path.join(HOME, "src")
sys.path.insert(0, SOURCE)
if odd := [character for character in (os.pathsep, "{", "}") if character in SOURCE]:
    raise WorkflowError(
        f"{HOME}: the workflow cannot be in a folder with '{odd[0]}' in its path, which PYTHONPATH or Snakemake"
        " reads in a way of its own; move or rename the folder (data and results may have any name)"
    )
# The prefix of every job's shell. First, tied.sh makes the shell end together with this Snakemake. PYTHONPATH: jobs in
# a conda environment, which has only the dependencies, find the package too; Snakemake drops the variable for them, so
# the prefix sets it. Only the jobs in preflight.smk contact a model hub, since compute nodes often have no internet.
# PYTHONUTF8: a job's locale may be ASCII only (LC_ALL=C), but its texts and paths need not be. torch caches compiled
# code beside Snakemake's own files, not in a folder of /tmp that another user could create first. Snakemake formats the
# prefix once, so braces are doubled.
TIE = os.path.join(HOME, "workflow", "scripts", "tied.sh")
FIRST, TIED = (
    text.replace("{", "{{").replace("}", "}}")
    for text in (shlex.quote(SOURCE), shlex.join([TIE, sys.executable, str(os.getpid())]))
)


class shell(shell):
    """Snakemake's shell, with a prefix for these rules alone and not for those of a workflow that uses them."""


shell.prefix(
    f". {TIED}; set -euo pipefail; export PYTHONPATH={FIRST}${{{{PYTHONPATH:+:$PYTHONPATH}}}}"
    " PYTHONUTF8=1 HUB_OFFLINE=${{HF_HUB_OFFLINE:-0}} HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"
    ' TORCHINDUCTOR_CACHE_DIR="${{TORCHINDUCTOR_CACHE_DIR:-$PWD/.snakemake/led/torchinductor}}"; '
)

from led_pipeline.fetch import hub
from led_pipeline.files import folder_names
from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import repeated_keys
from led_pipeline.jobs.run_lock import Run
from led_pipeline.pretrained import descriptions
from led_pipeline.recipe import arguments, scorers, needs, priorities
from led_pipeline.recipe.arguments import option
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe, trained_in
from led_pipeline.recipe.schema import QRELS
from led_pipeline.versions import VERSIONS


def speaking(function, *values):
    """Call a function; a user's mistake ends the run with an error message, not a traceback."""
    try:
        return function(*values)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def checked_recipe():
    for path in workflow.configfiles if IS_MAIN else []:
        for fault in repeated_keys(Path(path)):
            raise InputError(fault)
    # User code of a finished stage may have been moved since its training.
    quiet = not workflow.is_main_process
    trained = lambda dataset: trained_in(Layout.of(dataset).root)
    return load_recipe(config, trained, quiet, descriptions.of_folders)


RECIPE = speaking(checked_recipe)
DATASET = RECIPE.dataset
LAYOUT = Layout.of(DATASET.name)
# Only in the main process, not in the Snakemakes that a run starts for its jobs. A module may never learn the executor.
RUN = Run(LAYOUT.root, executor=None if IS_MAIN else "unknown") if workflow.is_main_process else None
ENV = "../../envs/led-gpu.yaml" if RECIPE.resources.search.gpu else "../../envs/led.yaml"
# The files that come with the workflow.
SOURCES, PUBLISHED = (
    os.path.relpath(os.path.join(HOME, "config", name)) for name in ("sources.yaml", "published.yaml")
)
HUB = {model.name: hub.slug(model.name) for model in hub.hub_models(RECIPE)}  # id -> folder
TOKENIZERS = {  # name -> folder of its tokens
    name: folder_names.of_tokenizer(name, RECIPE.stages, hub.is_local(name)) for name in needs.tokenizers(RECIPE)
}
for folders in (HUB, {os.path.relpath(t) if hub.is_local(t) else t: name for t, name in TOKENIZERS.items()}):
    speaking(folder_names.check, folders)
HUB_MODELS = {HUB[model.name]: model for model in hub.hub_models(RECIPE)}
TOKENIZER_OF = {folder: tokenizer for tokenizer, folder in TOKENIZERS.items()}
FILES = needs.Files(RECIPE, LAYOUT, HUB, TOKENIZERS)


def any_of(names):
    """Return a wildcard pattern that matches exactly these names; without names, it matches nothing."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    stage=any_of([*RECIPE.stages, *(re.escape(scorers.candidate_set(stage)) for stage in scorers.judged(RECIPE))]),
    system=any_of([*needs.systems(RECIPE), *DATASET.negatives, *DATASET.scores, QRELS]),
    split=any_of(DATASET.splits),
    part=any_of(map(re.escape, needs.parts(RECIPE))),
    shard=any_of(map(str, range(DATASET.shards))),
    tokenizer=any_of(map(re.escape, TOKENIZER_OF)),
    model=any_of(map(re.escape, HUB_MODELS)),


# Resources of most jobs: `resources: **CPU`. Rules that use GPUs list their resources one by one.
CPU = {"mem_mb": RECIPE.resources.cpu.mem_mb, "runtime": RECIPE.resources.cpu.runtime_min}


def version(step):
    """Return a step's version. Its name comes first, since Snakemake compares all params of a rule as one set."""
    return f"{step} {VERSIONS[step]}"


CHAINS = priorities.chains(RECIPE)
FIRST_OF_ALL = max(CHAINS.values()) + 1  # everything waits for the data


def before_training(wildcards):
    """Return the priority of a job for the training of a stage."""
    return priorities.of_training(RECIPE, CHAINS, scorers.stage_of_set(wildcards.stage))


def after_training(wildcards):
    """Return the priority of a job that makes vectors or a ranking of a stage or system."""
    name = wildcards.get("system") or wildcards.get("stage") or "bm25"
    return priorities.of_results(RECIPE, CHAINS, name, wildcards.get("part") or wildcards.get("split"))


def training(field):
    """Return a function that gives a resource of a training; a stage's `resources` override those of all trainings."""
    return lambda wildcards: getattr(RECIPE.training(wildcards.stage), field)


def across_nodes(several, one=None):
    """Return a resource of trainings: `several` computes it on several nodes, `one` on one node.

    With the resource `mpi` the SLURM executor leaves srun to the command. GPUs are then requested per node (gres),
    since SLURM distributes a job's total unevenly, and `tasks` must not become tasks per GPU.
    """

    def resource(wildcards):
        resources = RECIPE.training(wildcards.stage)
        return several(resources) if resources.nodes > 1 else one and one(resources)

    return resource


def gpus_of_a_node(wildcards, resources):
    """Return the GPUs per node of a training; it takes `resources`, so that a change re-runs nothing."""
    return option("--gpu", resources.gpu if resources.nodes == 1 else RECIPE.training(wildcards.stage).gpu)

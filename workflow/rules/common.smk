"""What the rules share: the checked recipe, where its files are, and what only Snakemake knows."""

import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SOURCE = str(Path(workflow.basedir, "src"))
sys.path.insert(0, SOURCE)
if odd := [character for character in (os.pathsep, "{", "}") if character in SOURCE]:
    raise WorkflowError(
        f"{workflow.basedir}: the workflow cannot be in a folder with '{odd[0]}' in its path, which PYTHONPATH or Snakemake"
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

from led_pipeline.fetch import hub
from led_pipeline.files import folder_names
from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import repeated_keys
from led_pipeline.jobs.run_lock import Run
from led_pipeline.recipe import arguments, needs
from led_pipeline.recipe.arguments import option
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe, trained_in
from led_pipeline.recipe.schema import QRELS
from led_pipeline.versions import VERSIONS


def speaking(function, *values):
    """What a function returns; what the user gave wrong ends the run with a sentence, not a traceback."""
    try:
        return function(*values)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def checked_recipe():
    for path in workflow.configfiles:
        for fault in repeated_keys(Path(path)):
            raise InputError(fault)
    # The user's code that a finished stage learned with may have been moved since.
    quiet = not workflow.is_main_process
    return load_recipe(config, trained=lambda dataset: trained_in(Layout.of(dataset).root), quiet=quiet)


RECIPE = speaking(checked_recipe)
DATASET = RECIPE.dataset
LAYOUT = Layout.of(DATASET.name)
# Not for the Snakemakes that a run starts for its jobs.
RUN = Run(LAYOUT.root) if workflow.is_main_process else None
ENV = "../../envs/led.yaml"
# The files that come with the workflow.
SOURCES, PUBLISHED = (
    os.path.relpath(os.path.join(workflow.basedir, "config", name)) for name in ("sources.yaml", "published.yaml")
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
    """A wildcard pattern that matches exactly these names (nothing, where there are none)."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    stage=any_of(RECIPE.stages),
    system=any_of([*needs.systems(RECIPE), *DATASET.negatives, *DATASET.scores, QRELS]),
    split=any_of(DATASET.splits),
    part=any_of(map(re.escape, needs.parts(RECIPE))),
    shard=any_of(map(str, range(DATASET.shards))),
    tokenizer=any_of(map(re.escape, TOKENIZER_OF)),
    model=any_of(map(re.escape, HUB_MODELS)),


# What most jobs ask for: `resources: **CPU`. Jobs on GPUs say what they ask for one by one.
CPU = {"mem_mb": RECIPE.resources.cpu.mem_mb, "runtime": RECIPE.resources.cpu.runtime_min}


def version(step):
    """A step's number. Snakemake compares the values of all params as one set, so the name keeps it from others."""
    return f"{step} {VERSIONS[step]}"


def training(field):
    """What a training asks for; a stage's own `resources` come before those of all trainings."""
    return lambda wildcards: getattr(RECIPE.training(wildcards.stage), field)


def across_nodes(several, one=None):
    """A resource of trainings on several nodes, a function of what they ask for; `one` does it for one node.

    With the resource `mpi` the SLURM executor leaves srun to the command. GPUs are then asked for by node (gres), since
    SLURM deals a job's total out unevenly, and `tasks` must not become tasks per GPU.
    """

    def resource(wildcards):
        resources = RECIPE.training(wildcards.stage)
        return several(resources) if resources.nodes > 1 else one and one(resources)

    return resource


def gpus_of_a_node(wildcards, resources):
    """GPUs that a training takes on each node; a function of `resources`, so a change re-runs nothing."""
    return option("--gpu", resources.gpu if resources.nodes == 1 else RECIPE.training(wildcards.stage).gpu)

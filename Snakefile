"""led_pipeline: train the LED dense retriever, from raw text to a measured model.

Targets: `led_final` (everything the recipe trains, measured and reported), or any file that the rules name, for instance
results/msmarco/models/lex_warmup or results/msmarco/eval/led.dev.json. The recipe is config/config.yaml unless
`--configfile` names another one: `snakemake --cores all --resources gpu=8 led_final`.
"""

import os

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

min_version("9.20")

# This folder, also where another workflow uses this one as a module.
if not isinstance(workflow.current_basedir, os.PathLike):
    raise WorkflowError(
        f"{workflow.current_basedir}: the rules need the Python package beside them; clone the repository and name its"
        " Snakefile by its path"
    )
HOME = os.fspath(workflow.current_basedir)
IS_MAIN = workflow.modifier.is_main_snakefile()

# With two config files Snakemake would mix the stages of both, so the default is read only where none is given.
# A module reads it where the other workflow hands no `config` over.
if not (IS_MAIN and workflow.configfiles):

    configfile: "config/config.yaml" if IS_MAIN and os.path.exists("config/config.yaml") else f"{HOME}/config/config.yaml"


# Only where it is used, since Snakemake refuses an image in a folder with spaces in its path.
if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:

    container: f"{HOME}/envs/led.sif"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


if any(
    workflow.modifier.path_modifier.replace_prefix(path) != path for path in (LAYOUT.preflight, LAYOUT.log("preflight"))
):
    raise WorkflowError(
        "module: `prefix` and `replace_prefix` would move the files but not the options that name them; results are in"
        " results/<dataset.name>, so give each module a dataset.name of its own"
    )


include: "workflow/rules/contents.smk"
include: "workflow/rules/start.smk"
include: "workflow/rules/preflight.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/trainset.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/encode.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


rule led_final:
    """Train every stage of the recipe, evaluate all of them and write the report."""
    input:
        LAYOUT.page,
        LAYOUT.table,
        [LAYOUT.gate] if RECIPE.evaluation.gate else [],
    localrule: True


spare_results()


# Another workflow that uses this one as the module `led` calls these as led.onstart() and led.onsuccess().
onstart:
    STARTED.append(begin())
    check_again()
    show(STARTED[-1])


onerror:
    finish(STARTED[-1], "failure")


onsuccess:
    finish(STARTED[-1], "success")
    # The table of an earlier run is not printed again after a run of single targets.
    if any(job.output == LAYOUT.page for job in getattr(STARTED[-1], "jobs", ())):
        say(Path(LAYOUT.table).read_text(encoding="utf-8"))
        say(f"Look at {LAYOUT.page} next.")

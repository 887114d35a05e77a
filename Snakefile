"""led_pipeline: train the LED dense retriever, from raw text to a measured model.

Targets: `led_final` (everything the recipe trains, measured and reported), or any file that the rules name, for instance
results/msmarco/models/lex_warmup or results/msmarco/eval/led.dev.json. The recipe is config/config.yaml unless
`--configfile` names another one: `snakemake --cores all --resources gpu=8 led_final`.
"""

from snakemake.utils import min_version

min_version("9.20")

# With two config files Snakemake would mix the stages of both, so the default is read only where none is given.
if not workflow.configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
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
    default_target: True
    input:
        LAYOUT.page,
        LAYOUT.table,
        [LAYOUT.gate] if RECIPE.evaluation.gate else [],
    localrule: True


onstart:
    STARTED.append(begin())
    check_again()
    show(STARTED[0])


onerror:
    finish(STARTED[0], "failure")


onsuccess:
    finish(STARTED[0], "success")
    table = Path(LAYOUT.table)
    if table.is_file():
        print(table.read_text(encoding="utf-8"))
        print(f"Look at {LAYOUT.page} next.")

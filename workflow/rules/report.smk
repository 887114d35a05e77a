"""The report: one HTML page, a table for the terminal, and all numbers as JSON."""

import json

from led_pipeline.files.digests import digest
from led_pipeline.recipe import starts
from led_pipeline.recipe.report_inputs import report_inputs
from led_pipeline.recipe.settings import Running

# Stages in the order of the config. Settings of the machine and the gate change no result, so they are left out; so are
# the keys that come from the model which a stage starts from, since the recipe does not set them.
RESOLVED_RECIPE = RECIPE.model_dump(
    mode="json",
    exclude={
        "resources": True,
        "defaults": True,
        "evaluation": {"gate"},
        "stages": {
            stage: {"resources", *Running.model_fields, *starts.adoptable(RECIPE, stage)} for stage in RECIPE.stages
        },
    },
)


rule resolved_recipe:
    """Write the resolved recipe, for the report and for repeating the run."""
    output:
        report(LAYOUT.resolved_recipe, caption="../report/recipe.rst", category="Report", labels={"file": "recipe"}),
    log:
        LAYOUT.log("recipe"),
    benchmark:
        LAYOUT.benchmark("recipe")
    localrule: True
    conda:
        ENV
    params:
        # A function, since Snakemake would read the field names of a template as wildcards.
        recipe=lambda wildcards: json.dumps(RESOLVED_RECIPE),
    script:
        "../scripts/resolved_recipe.py"


rule report:
    """Compare all systems on all splits."""
    input:
        **report_inputs(FILES),
        recipe=LAYOUT.resolved_recipe,
    output:
        html=report(LAYOUT.page, caption="../report/page.rst", category="Report", labels={"file": "page"}),
        text=report(LAYOUT.table, caption="../report/table.rst", category="Report", labels={"file": "table"}),
        numbers=report(LAYOUT.metrics, caption="../report/metrics.rst", category="Report", labels={"file": "numbers"}),
    log:
        LAYOUT.log("report"),
    benchmark:
        LAYOUT.benchmark("report")
    conda:
        ENV
    resources:
        **CPU,
    params:
        root=lambda wildcards, output: option("--results", LAYOUT.root),
        published=lambda wildcards, output: option("--published", PUBLISHED),
        content=lambda wildcards: content(published=lambda: digest(PUBLISHED)),
        version=version("report"),
    shell:
        "python -m led_pipeline.report.page --config {input.recipe:q} {params.root} {params.published}"
        " --out-html {output.html:q} --out-text {output.text:q} --out-json {output.numbers:q} > {log:q} 2>&1"


rule gate:
    """Fail if a result is below the published one that it reproduces; only if the recipe enables the gate."""
    input:
        LAYOUT.metrics,
    output:
        LAYOUT.gate,
    log:
        LAYOUT.log("gate"),
    benchmark:
        LAYOUT.benchmark("gate")
    retries: 0
    localrule: True
    conda:
        ENV
    params:
        version=version("gate"),
    shell:
        "python -m led_pipeline.evaluation.gate --metrics {input:q} --out {output:q} > {log:q} 2>&1"

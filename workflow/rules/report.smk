"""The report: one HTML page, a table for the terminal, and all numbers as JSON."""

RESOLVED = f"{ROOT}/report/recipe.json"


rule resolved_recipe:
    """The recipe as it was used, for the report and for whoever repeats the run."""
    output:
        RESOLVED,
    localrule: True
    params:
        recipe=as_json(config),
    shell:
        "printf '%s\\n' {params.recipe:q} > {output}"


rule report:
    """Compare all systems on all splits."""
    input:
        recipe=RESOLVED,
        evaluations=expand(f"{ROOT}/eval/{{system}}.{{split}}.json", system=RECIPE.systems, split=RECIPE.evaluation.splits),
        models=expand(f"{ROOT}/models/{{stage}}", stage=RECIPE.stages),
        published="config/published.yaml",
    output:
        html=f"{ROOT}/report/index.html",
        text=f"{ROOT}/report/table.txt",
        numbers=f"{ROOT}/report/metrics.json",
    log:
        f"{LOGS}/report.log",
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        root=ROOT,
        version=VERSIONS["report"],
    shell:
        "python -m led_pipeline.report --config {input.recipe} --results {params.root} --published {input.published}"
        " --out-html {output.html} --out-text {output.text} --out-json {output.numbers} > {log} 2>&1"

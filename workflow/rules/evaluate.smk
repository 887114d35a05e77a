"""Run files and measures of every system on every split."""


rule run_file:
    """Write a ranking as a TREC run, with the published ids and strictly decreasing scores."""
    input:
        ranking=LAYOUT.ranking("{system}", "{split}"),
        queries=LAYOUT.queries("{split}"),
        passages=LAYOUT.passages,
    output:
        LAYOUT.run("{system}", "{split}"),
    log:
        LAYOUT.log("runs/{system}.{split}"),
    benchmark:
        LAYOUT.benchmark("runs/{system}.{split}")
    conda:
        ENV
    resources:
        **CPU,
    params:
        depth=option("--depth", RECIPE.evaluation.depth),
        exclude=arguments.exclude(DATASET),
        version=version("evaluate"),
    shell:
        "python -m led_pipeline.evaluation.evaluate run --ranking {input.ranking:q} --queries {input.queries:q}"
        " --passages {input.passages:q} --tag {wildcards.system:q} {params.depth} {params.exclude}"
        " --out {output:q} > {log:q} 2>&1"


rule measure:
    """Measure one run, as means over the queries of the qrels and per query; lexicon stages also get FLOPS."""
    input:
        unpack(lambda wildcards: FILES.sparse_vectors(wildcards.system, wildcards.split)),
        run=LAYOUT.run("{system}", "{split}"),
        qrels=LAYOUT.qrels("{split}"),
    output:
        summary=report(
            LAYOUT.measures("{system}", "{split}"),
            caption="../report/measures.rst",
            category="Measures",
            labels={"system": "{system}", "split": "{split}"},
        ),
        per_query=LAYOUT.measures_per_query("{system}", "{split}"),
    log:
        LAYOUT.log("eval/{system}.{split}"),
    benchmark:
        LAYOUT.benchmark("eval/{system}.{split}")
    wildcard_constraints:
        split=any_of(DATASET.judged(DATASET.splits)),
    conda:
        ENV
    resources:
        **CPU,
    params:
        relevant_from=lambda wildcards: arguments.measuring(RECIPE, wildcards.split),
        vectors=lambda wildcards, input: arguments.sparse_vectors(FILES, wildcards.system, wildcards.split),
        version=version("evaluate"),
    shell:
        "python -m led_pipeline.evaluation.evaluate measure --run {input.run:q} --qrels {input.qrels:q}"
        " {params.relevant_from} {params.vectors} --out {output.summary:q}"
        " --per-query {output.per_query:q} > {log:q} 2>&1"

"""Vectors of passages, by shard, and of queries, by split."""


rule encode_passages:
    """Encode one shard of the collection; a lost node costs one shard."""
    input:
        model=LAYOUT.model("{stage}"),
        tokens=lambda wildcards: FILES.passage_tokens(wildcards.stage)[int(wildcards.shard)],
    output:
        LAYOUT.passage_vectors("{stage}", "{shard}", "{suffix}"),
    log:
        LAYOUT.log("encode/{stage}.passages.{shard}.{suffix}"),
    benchmark:
        LAYOUT.benchmark("encode/{stage}.passages.{shard}.{suffix}")
    wildcard_constraints:
        suffix="npy|arrow",
    priority: after_training
    conda:
        ENV
    threads: RECIPE.resources.encode.threads
    resources:
        gpu=RECIPE.resources.encode.gpu,
        mem_mb=RECIPE.resources.encode.mem_mb,
        runtime=RECIPE.resources.encode.runtime_min,
    params:
        version=version("encode"),
        precision=lambda wildcards: arguments.inference_precision(RECIPE, wildcards.stage),
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} -- led_pipeline.inference.encode"
        " --model {input.model:q} --tokens {input.tokens:q} --side passage {params.precision} --out {output:q} > {log:q} 2>&1"


rule encode_queries:
    """Encode the queries of one split."""
    input:
        model=LAYOUT.model("{stage}"),
        tokens=lambda wildcards: FILES.query_tokens(wildcards.stage, wildcards.split),
    output:
        LAYOUT.query_vectors("{stage}", "{split}", "{suffix}"),
    log:
        LAYOUT.log("encode/{stage}.{split}.{suffix}"),
    benchmark:
        LAYOUT.benchmark("encode/{stage}.{split}.{suffix}")
    wildcard_constraints:
        suffix="npy|arrow",
    priority: after_training
    conda:
        ENV
    threads: RECIPE.resources.encode.threads
    resources:
        gpu=RECIPE.resources.encode.gpu,
        mem_mb=RECIPE.resources.encode.mem_mb,
        runtime=RECIPE.resources.encode.runtime_min,
    params:
        version=version("encode"),
        precision=lambda wildcards: arguments.inference_precision(RECIPE, wildcards.stage),
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} -- led_pipeline.inference.encode"
        " --model {input.model:q} --tokens {input.tokens:q} --side query {params.precision} --out {output:q} > {log:q} 2>&1"

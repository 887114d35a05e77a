"""What a stage trains on: pools of negatives, drawn examples, teachers' scores."""


rule pool:
    """What one system ranked best for each training query, without the judged passages."""
    input:
        ranking=f"{ROOT}/rankings/{{system}}.train.parquet",
        queries=f"{ROOT}/prepared/train.queries.parquet",
        passages=f"{ROOT}/prepared/passages.parquet",
        qrels=f"{ROOT}/prepared/train.qrels",
    output:
        pool=f"{ROOT}/pools/{{system}}.parquet",
        manifest=f"{ROOT}/pools/{{system}}.json",
    log:
        f"{LOGS}/pools/{{system}}.log",
    wildcard_constraints:
        system=any_of(["bm25", *RECIPE.retrievers, *DATASET.scores]),
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        depth=lambda wildcards: option(
            "--depth", RECIPE.mining.published_depth if wildcards.system in DATASET.scores else RECIPE.mining.depth
        ),
        exclude=EXCLUDE,
        version=version("pools"),
    shell:
        "python -m led_pipeline.data.pools ranking --ranking {input.ranking:q} --queries {input.queries:q}"
        " --passages {input.passages:q} --qrels {input.qrels:q} {params.depth} {params.exclude}"
        " --out {output.pool:q} > {log:q} 2>&1"


rule store_scores:
    """A score file as a ranking of the training queries, to take negatives from and to learn from."""
    input:
        file=lambda wildcards: source_file(DATASET.scores[wildcards.system].file),
        queries=f"{ROOT}/prepared/train.queries.parquet",
        passages=f"{ROOT}/prepared/passages.parquet",
    output:
        f"{ROOT}/rankings/{{system}}.train.parquet",
    log:
        f"{LOGS}/rankings/{{system}}.train.log",
    wildcard_constraints:
        system=any_of(DATASET.scores),
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        file=lambda wildcards, output: option("--file", source(DATASET.scores[wildcards.system].file)),
        content=lambda wildcards: content_of_files(scores=DATASET.scores[wildcards.system].file),
        transform=lambda wildcards: "--scale {0.scale} --offset {0.offset}".format(DATASET.scores[wildcards.system]),
        version=version("score"),
    shell:
        "python -m led_pipeline.data.scores store {params.file} --queries {input.queries:q}"
        " --passages {input.passages:q} {params.transform} --out {output:q} > {log:q} 2>&1"


rule published_pool:
    """Negatives that somebody published for the training queries, or `qrels`: the judged passages with their grades."""
    input:
        negatives=lambda wildcards: (
            [] if wildcards.system == QRELS else source_file(DATASET.negatives[wildcards.system])
        ),
        queries=f"{ROOT}/prepared/train.queries.parquet",
        passages=f"{ROOT}/prepared/passages.parquet",
        qrels=f"{ROOT}/prepared/train.qrels",
    output:
        pool=f"{ROOT}/pools/{{system}}.parquet",
        manifest=f"{ROOT}/pools/{{system}}.json",
    log:
        f"{LOGS}/pools/{{system}}.log",
    wildcard_constraints:
        system=any_of([*DATASET.negatives, QRELS]),
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        what=lambda wildcards: ("judged" if wildcards.system == QRELS else "published"),
        negatives=lambda wildcards, output: (
            "" if wildcards.system == QRELS else option("--negatives", source(DATASET.negatives[wildcards.system]))
        ),
        content=lambda wildcards: content_of_files(negatives=DATASET.negatives.get(wildcards.system)),
        depth=option("--depth", RECIPE.mining.published_depth),
        exclude=EXCLUDE,
        version=version("pools"),
    shell:
        "python -m led_pipeline.data.pools {params.what} {params.negatives} --queries {input.queries:q}"
        " --passages {input.passages:q} --qrels {input.qrels:q} {params.depth} {params.exclude}"
        " --out {output.pool:q} > {log:q} 2>&1"


rule draw:
    """Draw every epoch's examples from the pools, from the recipe's seed."""
    input:
        pools=pool_inputs,
        scored=scored,
        positives=more_positives,
        queries=f"{ROOT}/prepared/train.queries.parquet",
        passages=f"{ROOT}/prepared/passages.parquet",
        qrels=f"{ROOT}/prepared/train.qrels",
    output:
        drawn=f"{ROOT}/trainsets/{{stage}}/drawn.arrow",
        manifest=f"{ROOT}/trainsets/{{stage}}/drawn.json",
    log:
        f"{LOGS}/trainsets/{{stage}}.draw.log",
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        settings=settings("trainset"),
        scored=lambda wildcards, output: option("--scored", *scored(wildcards)) if scored(wildcards) else "",
        positives=lambda wildcards, output: (
            option("--positives", *more_positives(wildcards)) if more_positives(wildcards) else ""
        ),
        version=version("trainset"),
    shell:
        "python -m led_pipeline.data.trainset draw --queries {input.queries:q} --passages {input.passages:q}"
        " --qrels {input.qrels:q} --pools {input.pools:q} {params.scored} {params.positives}"
        " {params.settings} --out {output.drawn:q} > {log:q} 2>&1"


rule score_with_vectors:
    """A retriever's scores of the drawn passages, from the vectors that mining has made already."""
    input:
        pairs=f"{ROOT}/trainsets/{{stage}}/drawn.arrow",
        queries=lambda wildcards: vector_split(wildcards.system, "train"),
        passages=lambda wildcards: vector_shards(wildcards.system),
    output:
        f"{ROOT}/trainsets/{{stage}}/scores/{{system}}.{{shard}}.npy",
    log:
        f"{LOGS}/trainsets/{{stage}}.{{system}}.{{shard}}.log",
    wildcard_constraints:
        system=any_of(RECIPE.retrievers),
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        shards=option("--shards", DATASET.shards),
        version=version("score"),
    shell:
        "python -m led_pipeline.search.exact pair-scores --pairs {input.pairs:q} --query-vectors {input.queries:q}"
        " --passage-vectors {input.passages:q} --shard {wildcards.shard:q} {params.shards} --out {output:q} > {log:q} 2>&1"


rule score_with_ranker:
    """A ranker's scores of the drawn passages: one inference pass over exactly the pairs of the trainset."""
    input:
        model=f"{ROOT}/models/{{system}}",
        pairs=f"{ROOT}/trainsets/{{stage}}/drawn.arrow",
        queries=lambda wildcards: token_split(wildcards.system, "train"),
        passages=lambda wildcards: token_shards(wildcards.system),
    output:
        f"{ROOT}/trainsets/{{stage}}/scores/{{system}}.{{shard}}.npy",
    log:
        f"{LOGS}/trainsets/{{stage}}.{{system}}.{{shard}}.log",
    wildcard_constraints:
        system=any_of(RECIPE.names("ranker")),
    conda:
        ENV
    threads: RECIPE.resources.score.threads
    resources:
        gpu=RECIPE.resources.score.gpu,
        mem_mb=RECIPE.resources.score.mem_mb,
        runtime=RECIPE.resources.score.runtime_min,
    params:
        shards=option("--shards", DATASET.shards),
        version=version("score"),
        precision=inference_precision,
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} -- led_pipeline.inference.score"
        " --model {input.model:q} --pairs {input.pairs:q} --queries {input.queries:q} --passages {input.passages:q}"
        " --shard {wildcards.shard:q} {params.shards} {params.precision} --out {output:q} > {log:q} 2>&1"


rule score_with_stored:
    """The scores that a file has of the drawn passages, or the grades of the judgements."""
    input:
        pairs=f"{ROOT}/trainsets/{{stage}}/drawn.arrow",
        ranking=lambda wildcards: (
            f"{ROOT}/rankings/{wildcards.system}.train.parquet" if wildcards.system in DATASET.scores else []
        ),
        judged=lambda wildcards: (
            [f"{ROOT}/prepared/{name}" for name in ("train.qrels", "train.queries.parquet", "passages.parquet")]
            if wildcards.system == QRELS
            else []
        ),
    output:
        f"{ROOT}/trainsets/{{stage}}/scores/{{system}}.{{shard}}.npy",
    log:
        f"{LOGS}/trainsets/{{stage}}.{{system}}.{{shard}}.log",
    wildcard_constraints:
        system=any_of([*DATASET.scores, QRELS]),
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        source=lambda wildcards, input: (
            option("--ranking", input.ranking)
            if input.ranking
            else shlex.join(
                [part for pair in zip(("--qrels", "--queries", "--passages"), input.judged) for part in pair]
            )
        ),
        shards=option("--shards", DATASET.shards),
        version=version("score"),
    shell:
        "python -m led_pipeline.data.scores look-up --pairs {input.pairs:q} {params.source} --shard {wildcards.shard:q}"
        " {params.shards} --out {output:q} > {log:q} 2>&1"


rule trainset:
    """Join the drawn examples and the teachers' scores: all that the stage trains on."""
    input:
        unpack(score_files),
        drawn=f"{ROOT}/trainsets/{{stage}}/drawn.arrow",
    output:
        f"{ROOT}/trainsets/{{stage}}/trainset.arrow",
    log:
        f"{LOGS}/trainsets/{{stage}}.join.log",
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        scores=score_arguments,
        version=version("trainset"),
    shell:
        "python -m led_pipeline.data.trainset join --drawn {input.drawn:q} {params.scores} --out {output:q} > {log:q} 2>&1"

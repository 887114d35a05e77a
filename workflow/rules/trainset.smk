"""Training data of a stage: pools of negatives, drawn examples, teachers' scores."""


rule pool:
    """Keep the best passages of one system for each training query, without the judged ones."""
    input:
        ranking=LAYOUT.ranking("{system}", "train"),
        queries=LAYOUT.queries("train"),
        passages=LAYOUT.passages,
        qrels=LAYOUT.qrels("train"),
    output:
        pool=LAYOUT.pool("{system}"),
        manifest=LAYOUT.pool_note("{system}"),
    log:
        LAYOUT.log("pools/{system}"),
    benchmark:
        LAYOUT.benchmark("pools/{system}")
    wildcard_constraints:
        system=any_of(["bm25", *RECIPE.retrievers, *DATASET.scores, *DATASET.runs, *RECIPE.fusion]),
    priority: after_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        depth=lambda wildcards: option(
            "--depth", RECIPE.mining.published_depth if wildcards.system in DATASET.scores else RECIPE.mining.depth
        ),
        exclude=arguments.exclude(DATASET),
        version=version("pools"),
    shell:
        "python -m led_pipeline.data.pools ranking --ranking {input.ranking:q} --queries {input.queries:q}"
        " --passages {input.passages:q} --qrels {input.qrels:q} {params.depth} {params.exclude}"
        " --out {output.pool:q} > {log:q} 2>&1"


rule store_scores:
    """Convert a score file to a ranking of the training queries, for negatives and for teachers."""
    input:
        file=lambda wildcards: FILES.source_inputs(DATASET.scores[wildcards.system].file),
        queries=LAYOUT.queries("train"),
        passages=LAYOUT.passages,
    output:
        LAYOUT.ranking("{system}", "train"),
    log:
        LAYOUT.log("rankings/{system}.train"),
    benchmark:
        LAYOUT.benchmark("rankings/{system}.train")
    wildcard_constraints:
        system=any_of(DATASET.scores),
    conda:
        ENV
    resources:
        **CPU,
    params:
        file=lambda wildcards, output: arguments.published(FILES, "--file", DATASET.scores[wildcards.system].file),
        content=lambda wildcards: content_of_files(scores=DATASET.scores[wildcards.system].file),
        transform=lambda wildcards: arguments.transform(DATASET.scores[wildcards.system]),
        version=version("score"),
    shell:
        "python -m led_pipeline.data.scores store {params.file} --queries {input.queries:q}"
        " --passages {input.passages:q} {params.transform} --out {output:q} > {log:q} 2>&1"


rule published_pool:
    """Make a pool of published negatives, or for `qrels` of the judged passages with their grades."""
    input:
        negatives=lambda wildcards: (
            [] if wildcards.system == QRELS else FILES.source_inputs(DATASET.negatives[wildcards.system])
        ),
        queries=LAYOUT.queries("train"),
        passages=LAYOUT.passages,
        qrels=LAYOUT.qrels("train"),
    output:
        pool=LAYOUT.pool("{system}"),
        manifest=LAYOUT.pool_note("{system}"),
    log:
        LAYOUT.log("pools/{system}"),
    benchmark:
        LAYOUT.benchmark("pools/{system}")
    wildcard_constraints:
        system=any_of([*DATASET.negatives, QRELS]),
    conda:
        ENV
    resources:
        **CPU,
    params:
        what=lambda wildcards: ("judged" if wildcards.system == QRELS else "published"),
        negatives=lambda wildcards, output: (
            ""
            if wildcards.system == QRELS
            else arguments.published(FILES, "--negatives", DATASET.negatives[wildcards.system])
        ),
        content=lambda wildcards: content_of_files(negatives=DATASET.negatives.get(wildcards.system)),
        depth=option("--depth", RECIPE.mining.published_depth),
        exclude=arguments.exclude(DATASET),
        version=version("pools"),
    shell:
        "python -m led_pipeline.data.pools {params.what} {params.negatives} --queries {input.queries:q}"
        " --passages {input.passages:q} --qrels {input.qrels:q} {params.depth} {params.exclude}"
        " --out {output.pool:q} > {log:q} 2>&1"


rule candidates:
    """List all candidate negatives of a stage whose negatives are judged; they are scored as trainsets are."""
    input:
        pools=lambda wildcards: FILES.pools(wildcards.stage),
        scored=lambda wildcards: FILES.only_scored(wildcards.stage),
        positives=lambda wildcards: FILES.more_positives(wildcards.stage),
        queries=LAYOUT.queries("train"),
        passages=LAYOUT.passages,
        qrels=LAYOUT.qrels("train"),
    output:
        LAYOUT.drawn(scorers.candidate_set("{stage}")),
    log:
        LAYOUT.log("trainsets/{stage}.candidates"),
    benchmark:
        LAYOUT.benchmark("trainsets/{stage}.candidates")
    wildcard_constraints:
        stage=any_of(scorers.judged(RECIPE)),
    priority: before_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        settings=lambda wildcards: arguments.candidates(RECIPE, wildcards.stage),
        scored=lambda wildcards, output: arguments.option_if("--scored", FILES.only_scored(wildcards.stage)),
        positives=lambda wildcards, output: arguments.option_if("--positives", FILES.more_positives(wildcards.stage)),
        version=version("judge"),
    shell:
        "python -m led_pipeline.data.judge candidates --queries {input.queries:q} --passages {input.passages:q}"
        " --qrels {input.qrels:q} --pools {input.pools:q} {params.scored} {params.positives}"
        " {params.settings} --out {output:q} > {log:q} 2>&1"


rule judge:
    """Find the candidates that the judge scores nearly as high as a positive."""
    input:
        LAYOUT.trainset(scorers.candidate_set("{stage}")),
    output:
        dropped=LAYOUT.dropped("{stage}"),
        manifest=LAYOUT.dropped_note("{stage}"),
    log:
        LAYOUT.log("trainsets/{stage}.judge"),
    benchmark:
        LAYOUT.benchmark("trainsets/{stage}.judge")
    wildcard_constraints:
        stage=any_of(scorers.judged(RECIPE)),
    priority: before_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        judge=lambda wildcards: arguments.judge(RECIPE, wildcards.stage),
        version=version("judge"),
    shell:
        "python -m led_pipeline.data.judge drop --scored {input:q} {params.judge} --out {output.dropped:q} > {log:q} 2>&1"


rule draw:
    """Draw every epoch's examples from the pools, from the recipe's seed."""
    input:
        pools=lambda wildcards: FILES.pools(wildcards.stage),
        scored=lambda wildcards: FILES.only_scored(wildcards.stage),
        positives=lambda wildcards: FILES.more_positives(wildcards.stage),
        dropped=lambda wildcards: FILES.dropped(wildcards.stage),
        sets=lambda wildcards: FILES.sets(wildcards.stage),
        queries=LAYOUT.queries("train"),
        passages=LAYOUT.passages,
        qrels=LAYOUT.qrels("train"),
    output:
        drawn=LAYOUT.drawn("{stage}"),
        manifest=LAYOUT.drawn_note("{stage}"),
    log:
        LAYOUT.log("trainsets/{stage}.draw"),
    benchmark:
        LAYOUT.benchmark("trainsets/{stage}.draw")
    wildcard_constraints:
        stage=any_of(RECIPE.trained),
    priority: before_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        settings=lambda wildcards: arguments.settings(RECIPE, "trainset", wildcards.stage),
        scored=lambda wildcards, output: arguments.scored(FILES, wildcards.stage),
        positives=lambda wildcards, output: arguments.option_if("--positives", FILES.more_positives(wildcards.stage)),
        version=version("trainset"),
    shell:
        "python -m led_pipeline.data.trainset draw --queries {input.queries:q} --passages {input.passages:q}"
        " --qrels {input.qrels:q} --pools {input.pools:q} {params.scored} {params.positives}"
        " {params.settings} --out {output.drawn:q} > {log:q} 2>&1"


rule score_with_vectors:
    """Score the drawn passages with a retriever, from the vectors of its mining."""
    input:
        pairs=LAYOUT.drawn("{stage}"),
        queries=lambda wildcards: FILES.query_vectors(wildcards.system, "train"),
        passages=lambda wildcards: FILES.passage_vectors(wildcards.system),
    output:
        LAYOUT.scores("{stage}", "{system}", "{shard}"),
    log:
        LAYOUT.log("trainsets/{stage}.{system}.{shard}"),
    benchmark:
        LAYOUT.benchmark("trainsets/{stage}.{system}.{shard}")
    wildcard_constraints:
        system=any_of(RECIPE.retrievers),
    priority: before_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        shards=option("--shards", DATASET.shards),
        version=version("score"),
    shell:
        "python -m led_pipeline.search.exact pair-scores --pairs {input.pairs:q} --query-vectors {input.queries:q}"
        " --passage-vectors {input.passages:q} --shard {wildcards.shard:q} {params.shards} --out {output:q} > {log:q} 2>&1"


rule score_with_ranker:
    """Score the drawn passages with a ranker: one inference pass over the pairs of the trainset."""
    input:
        model=LAYOUT.model("{system}"),
        pairs=LAYOUT.drawn("{stage}"),
        queries=lambda wildcards: FILES.query_tokens(wildcards.system, "train"),
        passages=lambda wildcards: FILES.passage_tokens(wildcards.system),
    output:
        LAYOUT.scores("{stage}", "{system}", "{shard}"),
    log:
        LAYOUT.log("trainsets/{stage}.{system}.{shard}"),
    benchmark:
        LAYOUT.benchmark("trainsets/{stage}.{system}.{shard}")
    wildcard_constraints:
        system=any_of(RECIPE.with_output("scores")),
    priority: before_training
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
        precision=lambda wildcards: arguments.inference_precision(RECIPE, wildcards.system),
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} -- led_pipeline.inference.score"
        " --model {input.model:q} --pairs {input.pairs:q} --queries {input.queries:q} --passages {input.passages:q}"
        " --shard {wildcards.shard:q} {params.shards} {params.precision} --out {output:q} > {log:q} 2>&1"


rule score_with_stored:
    """Look up the scores of the drawn passages in a score file, or their grades in the qrels."""
    input:
        pairs=LAYOUT.drawn("{stage}"),
        ranking=lambda wildcards: FILES.stored_scores(wildcards.system),
        judged=lambda wildcards: list(FILES.judged(wildcards.system).values()),
    output:
        LAYOUT.scores("{stage}", "{system}", "{shard}"),
    log:
        LAYOUT.log("trainsets/{stage}.{system}.{shard}"),
    benchmark:
        LAYOUT.benchmark("trainsets/{stage}.{system}.{shard}")
    wildcard_constraints:
        system=any_of([*DATASET.scores, QRELS]),
    priority: before_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        source=lambda wildcards, input: arguments.stored_scores(FILES, wildcards.system),
        shards=option("--shards", DATASET.shards),
        version=version("score"),
    shell:
        "python -m led_pipeline.data.scores look-up --pairs {input.pairs:q} {params.source} --shard {wildcards.shard:q}"
        " {params.shards} --out {output:q} > {log:q} 2>&1"


rule score_with_fusion:
    """Score the drawn passages with a fusion, from the rankings that it is made of."""
    input:
        pairs=LAYOUT.drawn("{stage}"),
        rankings=lambda wildcards: FILES.fused(wildcards.system, "train"),
        queries=LAYOUT.queries("train"),
        passages=[LAYOUT.passages] if DATASET.exclude_query_id else [],
    output:
        LAYOUT.scores("{stage}", "{system}", "{shard}"),
    log:
        LAYOUT.log("trainsets/{stage}.{system}.{shard}"),
    benchmark:
        LAYOUT.benchmark("trainsets/{stage}.{system}.{shard}")
    wildcard_constraints:
        system=any_of(RECIPE.fusion),
    priority: before_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        fusion=lambda wildcards: arguments.fusion(FILES, wildcards.system),
        shards=option("--shards", DATASET.shards),
        version=version("score"),
    shell:
        "python -m led_pipeline.data.fusion pair-scores --pairs {input.pairs:q} --rankings {input.rankings:q}"
        " --queries {input.queries:q} {params.fusion} --shard {wildcards.shard:q} {params.shards} --out {output:q}"
        " > {log:q} 2>&1"


rule trainset:
    """Join the drawn examples and the teachers' scores."""
    input:
        unpack(lambda wildcards: FILES.score_columns(wildcards.stage)),
        drawn=LAYOUT.drawn("{stage}"),
    output:
        LAYOUT.trainset("{stage}"),
    log:
        LAYOUT.log("trainsets/{stage}.join"),
    benchmark:
        LAYOUT.benchmark("trainsets/{stage}.join")
    priority: before_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        scores=lambda wildcards: arguments.score_columns(FILES, wildcards.stage),
        version=version("trainset"),
    shell:
        "python -m led_pipeline.data.trainset join --drawn {input.drawn:q} {params.scores} --out {output:q} > {log:q} 2>&1"

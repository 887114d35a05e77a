"""Models: made from the collection, trained, or taken over as they are."""

MODEL = LAYOUT.model("{stage}")


rule pretrain:
    """Make a vocabulary and a small BERT from the collection, where no model hub is at hand."""
    input:
        LAYOUT.passages,
    output:
        directory(MODEL),
    log:
        LAYOUT.log("pretrain/{stage}"),
    wildcard_constraints:
        stage=any_of(PRETRAINED),
    conda:
        ENV
    threads: job("train", "threads")
    resources:
        mem_mb=job("train", "mem_mb"),
        runtime=job("train", "runtime_min"),
    params:
        settings=settings("pretrain"),
        version=version("pretrain"),
    shell:
        "OMP_NUM_THREADS={threads} python -m led_pipeline.demo.pretrain --passages {input:q} {params.settings}"
        " --out {output:q} > {log:q} 2>&1"


rule import_model:
    """Take a published or local model over as a stage, without training it."""
    input:
        init=lambda wildcards: model_input(RECIPE.stages[wildcards.stage].init),
        query_init=lambda wildcards: model_input(query_init(wildcards)),
        tokenizer=lambda wildcards: model_input(RECIPE.tokenizer_of(wildcards.stage)),
        passages=lambda wildcards: token_shards(wildcards.stage) if idf(wildcards) == "collection" else [],
    output:
        directory(MODEL),
    log:
        LAYOUT.log("import/{stage}"),
    wildcard_constraints:
        stage=any_of(IMPORTED),
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        init=init_argument,
        query_init=query_init_argument,
        tokenizer=tokenizer_argument,
        settings=settings_and_paths("import"),
        content=content_of_stage("import"),
        passages=lambda wildcards, output: (
            option("--passages", *token_shards(wildcards.stage)) if idf(wildcards) == "collection" else ""
        ),
        version=version("train"),
    shell:
        "python -m led_pipeline.models.checkpoint {params.init} {params.query_init}"
        " {params.tokenizer} {params.settings} {params.passages} --out {output:q} > {log:q} 2>&1"


rule train:
    """Train one stage; a training that was interrupted goes on from its last checkpoint."""
    input:
        unpack(validation_inputs),
        unpack(vector_files),
        init=lambda wildcards: model_input(RECIPE.stages[wildcards.stage].init),
        query_init=lambda wildcards: model_input(query_init(wildcards)),
        tokenizer=lambda wildcards: model_input(RECIPE.tokenizer_of(wildcards.stage)),
        trainset=LAYOUT.trainset("{stage}"),
        queries=lambda wildcards: token_split(wildcards.stage, "train"),
        passages=lambda wildcards: token_shards(wildcards.stage),
    output:
        directory(MODEL),
    log:
        LAYOUT.log("train/{stage}"),
    wildcard_constraints:
        stage=any_of(TRAINED),
    conda:
        ENV
    threads: job("train", "threads")
    resources:
        gpu=across_nodes(lambda asked: 0, one=lambda asked: asked.gpu),
        mem_mb=job("train", "mem_mb"),
        runtime=job("train", "runtime_min"),
        nodes=job("train", "nodes"),
        gres=across_nodes(lambda asked: f"gpu:{asked.gpu}" if asked.gpu else None),
        mpi=across_nodes(lambda asked: "srun"),
        tasks=across_nodes(lambda asked: asked.nodes),
        tasks_per_gpu=across_nodes(lambda asked: 0),
    params:
        init=init_argument,
        query_init=query_init_argument,
        tokenizer=tokenizer_argument,
        settings=settings_and_paths("train"),
        content=content_of_stage("train"),
        validation=validation_arguments,
        vectors=vector_arguments,
        checkpoints=lambda wildcards: option("--checkpoints", LAYOUT.checkpoints(wildcards.stage)),
        # What a function makes from `threads` or `output` does not re-run a rule when it changes.
        running=lambda wildcards, threads: option("--running", as_json(RECIPE.running(wildcards.stage))),
        gpu=gpus_of_a_node,
        version=version("train"),
    shell:
        "python -m led_pipeline.jobs.launch --nodes {resources.nodes} {params.gpu} --threads {threads}"
        " -- led_pipeline.training.train"
        " {params.init} {params.query_init} {params.tokenizer}"
        " --queries {input.queries:q} --passages {input.passages:q}"
        " --trainset {input.trainset:q} {params.settings} {params.validation} {params.vectors}"
        " {params.running} {params.checkpoints} --out {output:q} > {log:q} 2>&1"

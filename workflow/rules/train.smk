"""Models: made from the collection, trained, or imported unchanged."""


rule pretrain:
    """Make a vocabulary and a small BERT from the collection, without a model hub."""
    input:
        LAYOUT.passages,
    output:
        directory(LAYOUT.model("{stage}")),
    log:
        LAYOUT.log("pretrain/{stage}"),
    benchmark:
        LAYOUT.benchmark("pretrain/{stage}")
    wildcard_constraints:
        stage=any_of(RECIPE.names("pretrain")),
    conda:
        ENV
    threads: training("threads")
    resources:
        mem_mb=training("mem_mb"),
        runtime=training("runtime_min"),
    params:
        settings=lambda wildcards: arguments.settings(RECIPE, "pretrain", wildcards.stage),
        version=version("pretrain"),
    shell:
        "OMP_NUM_THREADS={threads} python -m led_pipeline.demo.pretrain --passages {input:q} {params.settings}"
        " --out {output:q} > {log:q} 2>&1"


rule masked_lm:
    """Train a masked language model on the passages alone; an interrupted training resumes from its last checkpoint."""
    input:
        init=lambda wildcards: FILES.model_inputs(RECIPE.stages[wildcards.stage].init),
        tokenizer=lambda wildcards: FILES.model_inputs(RECIPE.tokenizer_of(wildcards.stage)),
        passages=lambda wildcards: FILES.passage_tokens(wildcards.stage),
    output:
        report(
            directory(LAYOUT.model("{stage}")),
            patterns=["{name}.jsonl"],  # train.jsonl; Snakemake finds no pattern without a wildcard
            caption="../report/training.rst",
            category="Trainings",
            labels={"stage": "{stage}"},
        ),
    log:
        LAYOUT.log("masked_lm/{stage}"),
    benchmark:
        LAYOUT.benchmark("masked_lm/{stage}")
    wildcard_constraints:
        stage=any_of(RECIPE.names("masked_lm")),
    priority: before_training
    conda:
        ENV
    threads: training("threads")
    resources:
        gpu=across_nodes(lambda resources: 0, one=lambda resources: resources.gpu),
        mem_mb=training("mem_mb"),
        runtime=training("runtime_min"),
        nodes=training("nodes"),
        gres=across_nodes(lambda resources: f"gpu:{resources.gpu}" if resources.gpu else None),
        mpi=across_nodes(lambda resources: "srun"),
        tasks=across_nodes(lambda resources: resources.nodes),
        tasks_per_gpu=across_nodes(lambda resources: 0),
    params:
        # Functions of `output`, so that a new path re-runs nothing; new content does (`content`).
        init=lambda wildcards, output: arguments.init(FILES, wildcards.stage),
        tokenizer=lambda wildcards, output: option("--tokenizer", FILES.model(RECIPE.tokenizer_of(wildcards.stage))),
        settings=lambda wildcards, output: arguments.settings(RECIPE, "train", wildcards.stage),
        content=content_of_stage("train"),
        checkpoints=lambda wildcards: option("--checkpoints", LAYOUT.checkpoints(wildcards.stage)),
        # Functions of `threads` or `output`: changes of their values do not re-run the rule.
        running=lambda wildcards, threads: option("--running", arguments.as_json(RECIPE.running(wildcards.stage))),
        gpu=gpus_of_a_node,
        version=version("masked_lm"),
    shell:
        "python -m led_pipeline.jobs.launch --nodes {resources.nodes} {params.gpu} --threads {threads}"
        " -- led_pipeline.training.masked_lm {params.init} {params.tokenizer}"
        " --passages {input.passages:q} {params.settings}"
        " {params.running} {params.checkpoints} --out {output:q} > {log:q} 2>&1"


rule import_model:
    """Import a published or local model as a stage, without training it."""
    input:
        init=lambda wildcards: FILES.model_inputs(RECIPE.stages[wildcards.stage].init),
        query_init=lambda wildcards: FILES.model_inputs(needs.query_init_of(RECIPE, wildcards.stage)),
        tokenizer=lambda wildcards: FILES.model_inputs(RECIPE.tokenizer_of(wildcards.stage)),
        passages=lambda wildcards: FILES.idf_passages(wildcards.stage),
    output:
        directory(LAYOUT.model("{stage}")),
    log:
        LAYOUT.log("import/{stage}"),
    benchmark:
        LAYOUT.benchmark("import/{stage}")
    wildcard_constraints:
        stage=any_of(RECIPE.imported),
    priority: before_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        # Functions of `output`, so that a new path re-runs nothing; new content does (`content`).
        init=lambda wildcards, output: arguments.init(FILES, wildcards.stage),
        query_init=lambda wildcards, output: arguments.query_init(FILES, wildcards.stage),
        tokenizer=lambda wildcards, output: option("--tokenizer", FILES.model(RECIPE.tokenizer_of(wildcards.stage))),
        settings=lambda wildcards, output: arguments.settings(RECIPE, "import", wildcards.stage),
        content=content_of_stage("import"),
        passages=lambda wildcards, output: arguments.option_if("--passages", FILES.idf_passages(wildcards.stage)),
        version=version("train"),
    shell:
        "python -m led_pipeline.models.saved_model {params.init} {params.query_init}"
        " {params.tokenizer} {params.settings} {params.passages} --out {output:q} > {log:q} 2>&1"


rule train:
    """Train one stage; an interrupted training resumes from its last checkpoint."""
    input:
        unpack(lambda wildcards: FILES.validation(wildcards.stage)),
        unpack(lambda wildcards: {f"vectors_of_{name}": v for name, v in FILES.batch_vectors(wildcards.stage).items()}),
        init=lambda wildcards: FILES.model_inputs(RECIPE.stages[wildcards.stage].init),
        query_init=lambda wildcards: FILES.model_inputs(needs.query_init_of(RECIPE, wildcards.stage)),
        tokenizer=lambda wildcards: FILES.model_inputs(RECIPE.tokenizer_of(wildcards.stage)),
        trainset=LAYOUT.trainset("{stage}"),
        queries=lambda wildcards: FILES.query_tokens(wildcards.stage, "train"),
        passages=lambda wildcards: FILES.passage_tokens(wildcards.stage),
    output:
        report(
            directory(LAYOUT.model("{stage}")),
            patterns=["{name}.jsonl"],  # train.jsonl; Snakemake finds no pattern without a wildcard
            caption="../report/training.rst",
            category="Trainings",
            labels={"stage": "{stage}"},
        ),
    log:
        LAYOUT.log("train/{stage}"),
    benchmark:
        LAYOUT.benchmark("train/{stage}")
    wildcard_constraints:
        stage=any_of(RECIPE.trained),
    priority: before_training
    conda:
        ENV
    threads: training("threads")
    resources:
        gpu=across_nodes(lambda resources: 0, one=lambda resources: resources.gpu),
        mem_mb=training("mem_mb"),
        runtime=training("runtime_min"),
        nodes=training("nodes"),
        gres=across_nodes(lambda resources: f"gpu:{resources.gpu}" if resources.gpu else None),
        mpi=across_nodes(lambda resources: "srun"),
        tasks=across_nodes(lambda resources: resources.nodes),
        tasks_per_gpu=across_nodes(lambda resources: 0),
    params:
        # Functions of `output`, so that a new path re-runs nothing; new content does (`content`).
        init=lambda wildcards, output: arguments.init(FILES, wildcards.stage),
        query_init=lambda wildcards, output: arguments.query_init(FILES, wildcards.stage),
        tokenizer=lambda wildcards, output: option("--tokenizer", FILES.model(RECIPE.tokenizer_of(wildcards.stage))),
        settings=lambda wildcards, output: arguments.settings(RECIPE, "train", wildcards.stage),
        content=content_of_stage("train"),
        validation=lambda wildcards: arguments.validation(FILES, wildcards.stage),
        vectors=lambda wildcards: arguments.teacher_vectors(FILES, wildcards.stage),
        checkpoints=lambda wildcards: option("--checkpoints", LAYOUT.checkpoints(wildcards.stage)),
        # Functions of `threads` or `output`: changes of their values do not re-run the rule.
        running=lambda wildcards, threads: option("--running", arguments.as_json(RECIPE.running(wildcards.stage))),
        gpu=gpus_of_a_node,
        version=version("train"),
    shell:
        "python -m led_pipeline.jobs.launch --nodes {resources.nodes} {params.gpu} --threads {threads}"
        " -- led_pipeline.training.train"
        " {params.init} {params.query_init} {params.tokenizer}"
        " --queries {input.queries:q} --passages {input.passages:q}"
        " --trainset {input.trainset:q} {params.settings} {params.validation} {params.vectors}"
        " {params.running} {params.checkpoints} --out {output:q} > {log:q} 2>&1"

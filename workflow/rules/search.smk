"""Rankings: every system's best passages for every query of a split, as a table of row numbers."""

ENGINE = f"python -m led_pipeline.search.{RECIPE.search.backend}"
LANGUAGE = f" --language {RECIPE.bm25.language}" if RECIPE.bm25.language != "en" else ""
BM25 = f"--k1 {RECIPE.bm25.k1} --b {RECIPE.bm25.b}{LANGUAGE}"
# Lucene needs k1 and b to search; an OpenSearch node keeps them with the index.
BM25_OF_INDEX = {"opensearch": f" {BM25}"}.get(RECIPE.search.backend, LANGUAGE)
ON_NODE = "--node" if RECIPE.search.backend == "opensearch" else ""
LEXICON = "python -m led_pipeline.search.exact_lexicon" if RECIPE.search.lexicon_engine == "exact" else ENGINE
LEXICON_SEARCH, LEXICON_KIND, LEXICON_RESOURCES = LEXICON, "cpu", CPU
if RECIPE.search.lexicon_on_gpus:
    LEXICON_SEARCH = (
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} --plain"
        " -- led_pipeline.search.exact_lexicon"
    )
    LEXICON_KIND = "search"
    LEXICON_RESOURCES = {
        "gpu": RECIPE.resources.search.gpu,
        "mem_mb": RECIPE.resources.search.mem_mb,
        "runtime": RECIPE.resources.search.runtime_min,
    }
LEXICON_INDEX = {"exact": "--postings", "opensearch": "--node"}.get(RECIPE.search.lexicon_engine, "")


rule bm25_index:
    """Index the passages' titles and texts for BM25."""
    input:
        LAYOUT.passages,
    output:
        directory(LAYOUT.index("bm25")),
    log:
        LAYOUT.log("bm25/index"),
    benchmark:
        LAYOUT.benchmark("bm25/index")
    priority: after_training
    conda:
        ENV
    threads: RECIPE.resources.cpu.threads
    resources:
        **CPU,
    params:
        version=version("bm25"),
    shell:
        f"{ENGINE} bm25-index --passages {{input:q}} --threads {{threads}} --out {{output:q}}{BM25_OF_INDEX} > {{log:q}} 2>&1"


rule bm25_search:
    """Rank with BM25."""
    input:
        index=LAYOUT.index("bm25"),
        queries=lambda wildcards: LAYOUT.queries(needs.split_of(wildcards.part)),
        passages=LAYOUT.passages,
    output:
        LAYOUT.ranking("{system}", "{part}"),
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    benchmark:
        LAYOUT.benchmark("rankings/{system}.{part}")
    wildcard_constraints:
        system="bm25",
    priority: after_training
    conda:
        ENV
    threads: RECIPE.resources.cpu.threads
    resources:
        **CPU,
    params:
        parameters=BM25,
        hits=lambda wildcards: arguments.hits(RECIPE, wildcards.part),
        shard=lambda wildcards: arguments.query_shard(RECIPE, wildcards.system, wildcards.part),
        version=version("bm25"),
    shell:
        f"{ENGINE} bm25-search --index {{input.index:q}} --queries {{input.queries:q}}"
        " --passages {input.passages:q} {params.parameters} {params.hits} {params.shard}"
        " --threads {threads} --out {output:q} > {log:q} 2>&1"


rule impact_index:
    """Index a lexicon stage's passage vectors; the impacts of Anserini and of a posting file are integers."""
    input:
        vectors=lambda wildcards: FILES.passage_vectors(wildcards.system),
        passages=LAYOUT.passages,
    output:
        directory(LAYOUT.index("{system}")),
    log:
        LAYOUT.log("index/{system}"),
    benchmark:
        LAYOUT.benchmark("index/{system}")
    wildcard_constraints:
        system=any_of(RECIPE.with_output("sparse")),
    priority: after_training
    conda:
        ENV
    threads: RECIPE.resources.cpu.threads
    resources:
        **CPU,
    params:
        quantisation=lambda wildcards: option("--quantisation", RECIPE.stages[wildcards.system].quantisation),
        version=version("index"),
    shell:
        f"{LEXICON} impact-index --vectors {{input.vectors:q}} --passages {{input.passages:q}}"
        " {params.quantisation} --threads {threads} --out {output:q} > {log:q} 2>&1"


rule impact_search:
    """Rank with a lexicon stage."""
    input:
        index=LAYOUT.index("{system}"),
        queries=lambda wildcards: FILES.query_vectors(wildcards.system, needs.split_of(wildcards.part)),
        passages=LAYOUT.passages,
    output:
        LAYOUT.ranking("{system}", "{part}"),
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    benchmark:
        LAYOUT.benchmark("rankings/{system}.{part}")
    wildcard_constraints:
        system=any_of(RECIPE.with_output("sparse")),
    priority: after_training
    conda:
        ENV
    threads: RECIPE.job(LEXICON_KIND).threads
    resources:
        **LEXICON_RESOURCES,
    params:
        quantisation=lambda wildcards: option("--quantisation", RECIPE.stages[wildcards.system].quantisation),
        hits=lambda wildcards: arguments.hits(RECIPE, wildcards.part),
        shard=lambda wildcards: arguments.query_shard(RECIPE, wildcards.system, wildcards.part),
        version=version("search"),
    shell:
        f"{LEXICON_SEARCH} impact-search --index {{input.index:q}} --query-vectors {{input.queries:q}}"
        " --passages {input.passages:q} {params.quantisation} {params.hits} {params.shard}"
        " --threads {threads} --out {output:q} > {log:q} 2>&1"


rule dense_search:
    """Rank with a dense stage: exact inner products with FAISS, one shard of the collection after another."""
    input:
        queries=lambda wildcards: FILES.query_vectors(wildcards.system, needs.split_of(wildcards.part)),
        passages=lambda wildcards: FILES.passage_vectors(wildcards.system),
    output:
        LAYOUT.ranking("{system}", "{part}"),
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    benchmark:
        LAYOUT.benchmark("rankings/{system}.{part}")
    wildcard_constraints:
        system=any_of(RECIPE.with_output("dense")),
    priority: after_training
    conda:
        ENV
    threads: RECIPE.resources.search.threads
    resources:
        gpu=RECIPE.resources.search.gpu,
        mem_mb=RECIPE.resources.search.mem_mb,
        runtime=RECIPE.resources.search.runtime_min,
    params:
        hits=lambda wildcards: arguments.hits(RECIPE, wildcards.part),
        shard=lambda wildcards: arguments.query_shard(RECIPE, wildcards.system, wildcards.part),
        version=version("search"),
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} --plain -- led_pipeline.search.faiss_index"
        " --passage-vectors {input.passages:q} --query-vectors {input.queries:q} {params.hits} {params.shard}"
        " --threads {threads} --out {output:q} > {log:q} 2>&1"


rule variant_search:
    """Rank with smaller vectors of a dense stage, from those that it has stored."""
    input:
        queries=lambda wildcards: FILES.query_vectors(
            needs.stage_of(RECIPE, wildcards.system), needs.split_of(wildcards.part)
        ),
        passages=lambda wildcards: FILES.passage_vectors(needs.stage_of(RECIPE, wildcards.system)),
    output:
        LAYOUT.ranking("{system}", "{part}"),
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    benchmark:
        LAYOUT.benchmark("rankings/{system}.{part}")
    wildcard_constraints:
        system=any_of(RECIPE.variants),
    priority: after_training
    conda:
        ENV
    threads: RECIPE.resources.search.threads
    resources:
        mem_mb=RECIPE.resources.search.mem_mb,
        runtime=RECIPE.resources.search.runtime_min,
    params:
        settings=lambda wildcards: arguments.variant(RECIPE, wildcards.system),
        hits=lambda wildcards: arguments.hits(RECIPE, wildcards.part),
        shard=lambda wildcards: arguments.query_shard(RECIPE, wildcards.system, wildcards.part),
        version=version("search"),
    shell:
        "OMP_NUM_THREADS={threads} python -m led_pipeline.search.variants --passage-vectors {input.passages:q}"
        " --query-vectors {input.queries:q} {params.settings} {params.hits} {params.shard}"
        " --threads {threads} --out {output:q} > {log:q} 2>&1"


rule query_time:
    """Time searches of a dense stage or a variant, one query after another on one thread."""
    input:
        queries=lambda wildcards: FILES.query_vectors(
            needs.stage_of(RECIPE, wildcards.system), RECIPE.evaluation.splits[0]
        ),
        passages=lambda wildcards: FILES.passage_vectors(needs.stage_of(RECIPE, wildcards.system)),
    output:
        LAYOUT.query_time("{system}"),
    log:
        LAYOUT.log("costs/{system}"),
    benchmark:
        LAYOUT.benchmark("costs/{system}")
    wildcard_constraints:
        system=any_of([*RECIPE.with_output("dense"), *RECIPE.variants]),
    conda:
        ENV
    resources:
        mem_mb=RECIPE.resources.search.mem_mb,
        runtime=RECIPE.resources.search.runtime_min,
    params:
        settings=lambda wildcards: arguments.variant(RECIPE, wildcards.system),
        hits=option("--hits", RECIPE.evaluation.depth),
        timed_queries=option("--count", RECIPE.evaluation.timed_queries),
        version=version("times"),
    shell:
        "OMP_NUM_THREADS=1 python -m led_pipeline.search.query_time --passage-vectors {input.passages:q}"
        " --query-vectors {input.queries:q} {params.settings} {params.hits} {params.timed_queries} --out {output:q} > {log:q} 2>&1"


rule bm25_query_time:
    """Time searches of BM25, one query after another on one thread."""
    input:
        index=LAYOUT.index("bm25"),
        queries=lambda wildcards: LAYOUT.queries(RECIPE.evaluation.splits[0]),
    output:
        LAYOUT.query_time("{system}"),
    log:
        LAYOUT.log("costs/{system}"),
    benchmark:
        LAYOUT.benchmark("costs/{system}")
    wildcard_constraints:
        system="bm25",
    conda:
        ENV
    resources:
        **CPU,
    params:
        node=ON_NODE,
        parameters=BM25,
        hits=option("--hits", RECIPE.evaluation.depth),
        timed_queries=option("--count", RECIPE.evaluation.timed_queries),
        version=version("times"),
    shell:
        "python -m led_pipeline.use.query_time bm25 --index {input.index:q} --queries {input.queries:q} {params.node}"
        " {params.parameters} {params.hits} {params.timed_queries} --out {output:q} > {log:q} 2>&1"


rule impact_query_time:
    """Time searches of a lexicon stage, one query after another on one thread."""
    input:
        index=LAYOUT.index("{system}"),
        queries=lambda wildcards: FILES.query_vectors(wildcards.system, RECIPE.evaluation.splits[0]),
    output:
        LAYOUT.query_time("{system}"),
    log:
        LAYOUT.log("costs/{system}"),
    benchmark:
        LAYOUT.benchmark("costs/{system}")
    wildcard_constraints:
        system=any_of(RECIPE.with_output("sparse")),
    conda:
        ENV
    resources:
        **CPU,
    params:
        node=LEXICON_INDEX,
        quantisation=lambda wildcards: option("--quantisation", RECIPE.stages[wildcards.system].quantisation),
        hits=option("--hits", RECIPE.evaluation.depth),
        timed_queries=option("--count", RECIPE.evaluation.timed_queries),
        version=version("times"),
    shell:
        "python -m led_pipeline.use.query_time impact --index {input.index:q} --query-vectors {input.queries:q} {params.node}"
        " {params.quantisation} {params.hits} {params.timed_queries} --out {output:q} > {log:q} 2>&1"


rule fusion_query_time:
    """Time the sums of a fusion, and add the times of the systems that it is made of."""
    input:
        times=lambda wildcards: [LAYOUT.query_time(name) for name in RECIPE.fusion[wildcards.system].systems],
        rankings=lambda wildcards: FILES.fused(wildcards.system, RECIPE.evaluation.splits[0]),
    output:
        LAYOUT.query_time("{system}"),
    log:
        LAYOUT.log("costs/{system}"),
    benchmark:
        LAYOUT.benchmark("costs/{system}")
    wildcard_constraints:
        system=any_of(RECIPE.fusion),
    conda:
        ENV
    resources:
        **CPU,
    params:
        settings=lambda wildcards: arguments.fusion_alone(RECIPE, wildcards.system),
        hits=option("--hits", RECIPE.evaluation.depth),
        version=version("times"),
    shell:
        "python -m led_pipeline.use.query_time fusion --times {input.times:q} --rankings {input.rankings:q}"
        " {params.settings} {params.hits} --out {output:q} > {log:q} 2>&1"


rule ranker_query_time:
    """Time the re-rankings of a ranker on at most one GPU, and add the times of the system that it re-ranks."""
    input:
        times=lambda wildcards: LAYOUT.query_time(RECIPE.stages[wildcards.system].rerank.system),
        ranking=lambda wildcards: FILES.candidates(wildcards.system, RECIPE.evaluation.splits[0]),
        model=LAYOUT.model("{system}"),
        queries=lambda wildcards: FILES.query_tokens(wildcards.system, RECIPE.evaluation.splits[0]),
        passages=lambda wildcards: FILES.passage_tokens(wildcards.system),
    output:
        LAYOUT.query_time("{system}"),
    log:
        LAYOUT.log("costs/{system}"),
    benchmark:
        LAYOUT.benchmark("costs/{system}")
    wildcard_constraints:
        system=any_of(RECIPE.with_output("scores")),
    conda:
        ENV
    threads: RECIPE.resources.score.threads
    resources:
        gpu=min(1, RECIPE.resources.score.gpu),
        mem_mb=RECIPE.resources.score.mem_mb,
        runtime=RECIPE.resources.score.runtime_min,
    params:
        depth=lambda wildcards: option("--depth", RECIPE.stages[wildcards.system].rerank.depth),
        precision=lambda wildcards: arguments.inference_precision(RECIPE, wildcards.system),
        version=version("times"),
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} --plain -- led_pipeline.use.rerank_time"
        " --times {input.times:q} --ranking {input.ranking:q} --model {input.model:q} --query-tokens {input.queries:q}"
        " --passage-tokens {input.passages:q} {params.depth} {params.precision} --out {output:q} > {log:q} 2>&1"


DIVIDED = [
    name
    for name in ("bm25", *RECIPE.retrievers, *RECIPE.variants, *RECIPE.fusion)
    if needs.train_jobs(RECIPE, name) > 1
]

if DIVIDED:

    # A system that is not divided ranks all training queries under the name that others get by joining.
    ruleorder: join_ranking > bm25_search > impact_search > dense_search > variant_search > fuse

    rule join_ranking:
        """Join the rankings of the shards of the training queries."""
        input:
            lambda wildcards: FILES.train_ranking_parts(wildcards.system),
        output:
            LAYOUT.ranking("{system}", "{split}"),
        log:
            LAYOUT.log("rankings/{system}.{split}"),
        benchmark:
            LAYOUT.benchmark("rankings/{system}.{split}")
        wildcard_constraints:
            system=any_of(DIVIDED),
            split="train",
        conda:
            ENV
        resources:
            **CPU,
        params:
            version=version("search"),
        shell:
            "python -m led_pipeline.data.rankings --shards {input:q} --out {output:q} > {log:q} 2>&1"


rule rerank:
    """Rank with a ranker: score the first passages of another system."""
    input:
        model=LAYOUT.model("{system}"),
        ranking=lambda wildcards: FILES.candidates(wildcards.system, wildcards.split),
        queries=lambda wildcards: FILES.query_tokens(wildcards.system, wildcards.split),
        passages=lambda wildcards: FILES.passage_tokens(wildcards.system),
    output:
        LAYOUT.ranking("{system}", "{split}"),
    log:
        LAYOUT.log("rankings/{system}.{split}"),
    benchmark:
        LAYOUT.benchmark("rankings/{system}.{split}")
    wildcard_constraints:
        system=any_of(RECIPE.with_output("scores")),
    priority: after_training
    conda:
        ENV
    threads: RECIPE.resources.score.threads
    resources:
        gpu=RECIPE.resources.score.gpu,
        mem_mb=RECIPE.resources.score.mem_mb,
        runtime=RECIPE.resources.score.runtime_min,
    params:
        depth=lambda wildcards: option("--depth", RECIPE.stages[wildcards.system].rerank.depth),
        version=version("score"),
        precision=lambda wildcards: arguments.inference_precision(RECIPE, wildcards.system),
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} -- led_pipeline.inference.score"
        " --model {input.model:q} --pairs {input.ranking:q} {params.depth} --rerank --queries {input.queries:q}"
        " --passages {input.passages:q} {params.precision} --out {output:q} > {log:q} 2>&1"


rule store_run:
    """Convert a run that another program made to a ranking of a split's queries."""
    input:
        queries=lambda wildcards: LAYOUT.queries(needs.split_of(wildcards.part)),
        passages=LAYOUT.passages,
    output:
        LAYOUT.ranking("{system}", "{part}"),
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    benchmark:
        LAYOUT.benchmark("rankings/{system}.{part}")
    wildcard_constraints:
        system=any_of(DATASET.runs),
        part=any_of(map(re.escape, needs.whole_parts(RECIPE))),
    priority: after_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        file=lambda wildcards, output: option("--file", FILES.run_file(wildcards.system, wildcards.part)),
        content=lambda wildcards: content(run=lambda: content_of(FILES.run_file(wildcards.system, wildcards.part))),
        hits=lambda wildcards: arguments.hits(RECIPE, wildcards.part),
        skip=arguments.skip(DATASET, runs=True),
        version=version("search"),
    shell:
        "python -m led_pipeline.data.runs {params.file} --queries {input.queries:q} --passages {input.passages:q}"
        " {params.hits} {params.skip} --out {output:q} > {log:q} 2>&1"


rule fuse:
    """Rank with a fusion: the sum of what the rankings of other systems say."""
    input:
        rankings=lambda wildcards: FILES.fused(wildcards.system, wildcards.part),
        queries=lambda wildcards: LAYOUT.queries(needs.split_of(wildcards.part)),
        passages=[LAYOUT.passages] if DATASET.exclude_query_id else [],
    output:
        LAYOUT.ranking("{system}", "{part}"),
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    benchmark:
        LAYOUT.benchmark("rankings/{system}.{part}")
    wildcard_constraints:
        system=any_of(RECIPE.fusion),
    priority: after_training
    conda:
        ENV
    resources:
        **CPU,
    params:
        fusion=lambda wildcards: arguments.fusion(FILES, wildcards.system),
        hits=lambda wildcards: arguments.hits(RECIPE, wildcards.part),
        shard=lambda wildcards: arguments.query_shard(RECIPE, wildcards.system, wildcards.part),
        version=version("search"),
    shell:
        "python -m led_pipeline.data.fusion rank --rankings {input.rankings:q} --queries {input.queries:q}"
        " {params.fusion} {params.hits} {params.shard} --out {output:q} > {log:q} 2>&1"

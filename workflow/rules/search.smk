"""Rankings: every system's best passages for every query of a split, as a table of row numbers."""

BM25_INDEX = LAYOUT.index("bm25")
RANKING = LAYOUT.ranking("{system}", "{split}")
SEARCHED = LAYOUT.ranking("{system}", "{part}")  # a split, a shard of it, or its first hits
ENGINE = f"python -m led_pipeline.search.{RECIPE.search.backend}"
LANGUAGE = f" --language {RECIPE.bm25.language}" if RECIPE.bm25.language != "en" else ""
BM25 = f"--k1 {RECIPE.bm25.k1} --b {RECIPE.bm25.b}{LANGUAGE}"
# Lucene needs k1 and b to search; an OpenSearch node keeps them with the index.
BM25_OF_INDEX = {"anserini": LANGUAGE, "opensearch": f" {BM25}"}[RECIPE.search.backend]


rule bm25_index:
    """Index the passages' titles and texts for BM25."""
    input:
        LAYOUT.passages,
    output:
        directory(BM25_INDEX),
    log:
        LAYOUT.log("bm25/index"),
    conda:
        ENV
    threads: job("cpu", "threads")
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        version=version("bm25"),
    shell:
        f"{ENGINE} bm25-index --passages {{input:q}} --threads {{threads}} --out {{output:q}}{BM25_OF_INDEX} > {{log:q}} 2>&1"


rule bm25_search:
    """Rank with BM25."""
    input:
        index=BM25_INDEX,
        queries=lambda wildcards: LAYOUT.queries(split_of(wildcards)),
        passages=LAYOUT.passages,
    output:
        SEARCHED,
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    wildcard_constraints:
        system="bm25",
    conda:
        ENV
    threads: job("cpu", "threads")
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        parameters=BM25,
        hits=hits,
        shard=query_shard,
        version=version("bm25"),
    shell:
        f"{ENGINE} bm25-search --index {{input.index:q}} --queries {{input.queries:q}}"
        " --passages {input.passages:q} {params.parameters} {params.hits} {params.shard}"
        " --threads {threads} --out {output:q} > {log:q} 2>&1"


rule impact_index:
    """Index a lexicon stage's passage vectors; Anserini's impacts are integers."""
    input:
        vectors=lambda wildcards: vector_shards(wildcards.system),
        passages=LAYOUT.passages,
    output:
        directory(LAYOUT.index("{system}")),
    log:
        LAYOUT.log("index/{system}"),
    wildcard_constraints:
        system=any_of(RECIPE.names("lexicon")),
    conda:
        ENV
    threads: job("cpu", "threads")
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        quantisation=quantisation,
        version=version("index"),
    shell:
        f"{ENGINE} impact-index --vectors {{input.vectors:q}} --passages {{input.passages:q}}"
        " {params.quantisation} --threads {threads} --out {output:q} > {log:q} 2>&1"


rule impact_search:
    """Rank with a lexicon stage."""
    input:
        index=LAYOUT.index("{system}"),
        queries=lambda wildcards: vector_split(wildcards.system, split_of(wildcards)),
        passages=LAYOUT.passages,
    output:
        SEARCHED,
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    wildcard_constraints:
        system=any_of(RECIPE.names("lexicon")),
    conda:
        ENV
    threads: job("cpu", "threads")
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        quantisation=quantisation,
        hits=hits,
        shard=query_shard,
        version=version("search"),
    shell:
        f"{ENGINE} impact-search --index {{input.index:q}} --query-vectors {{input.queries:q}}"
        " --passages {input.passages:q} {params.quantisation} {params.hits} {params.shard}"
        " --threads {threads} --out {output:q} > {log:q} 2>&1"


rule dense_search:
    """Rank with a dense stage: exact inner products with FAISS, one shard of the collection after another."""
    input:
        queries=lambda wildcards: vector_split(wildcards.system, split_of(wildcards)),
        passages=lambda wildcards: vector_shards(wildcards.system),
    output:
        SEARCHED,
    log:
        LAYOUT.log("rankings/{system}.{part}"),
    wildcard_constraints:
        system=any_of(RECIPE.names("dense")),
    conda:
        ENV
    threads: RECIPE.resources.search.threads
    resources:
        gpu=RECIPE.resources.search.gpu,
        mem_mb=RECIPE.resources.search.mem_mb,
        runtime=RECIPE.resources.search.runtime_min,
    params:
        hits=hits,
        shard=query_shard,
        version=version("search"),
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} --plain -- led_pipeline.search.faiss_index"
        " --passage-vectors {input.passages:q} --query-vectors {input.queries:q} {params.hits} {params.shard}"
        " --threads {threads} --out {output:q} > {log:q} 2>&1"


if len(SHARDS) > 1:

    rule join_ranking:
        """The rankings of the training queries' shards as one."""
        input:
            [LAYOUT.ranking("{system}", part) for part in query_parts("train")],
        output:
            RANKING,
        log:
            LAYOUT.log("rankings/{system}.{split}"),
        wildcard_constraints:
            system=any_of(["bm25", *RECIPE.retrievers]),
            split="train",
        conda:
            ENV
        resources:
            mem_mb=job("cpu", "mem_mb"),
            runtime=job("cpu", "runtime_min"),
        params:
            version=version("search"),
        shell:
            "python -m led_pipeline.data.rankings --shards {input:q} --out {output:q} > {log:q} 2>&1"


rule rerank:
    """Rank with a ranker: score the first passages of another system anew."""
    input:
        model=LAYOUT.model("{system}"),
        ranking=lambda wildcards: LAYOUT.ranking(rerank(wildcards).system, wildcards.split),
        queries=lambda wildcards: token_split(wildcards.system, wildcards.split),
        passages=lambda wildcards: token_shards(wildcards.system),
    output:
        RANKING,
    log:
        LAYOUT.log("rankings/{system}.{split}"),
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
        depth=lambda wildcards: option("--depth", rerank(wildcards).depth),
        version=version("score"),
        precision=inference_precision,
    shell:
        "python -m led_pipeline.jobs.launch --gpu {resources.gpu} --threads {threads} -- led_pipeline.inference.score"
        " --model {input.model:q} --pairs {input.ranking:q} {params.depth} --rerank --queries {input.queries:q}"
        " --passages {input.passages:q} {params.precision} --out {output:q} > {log:q} 2>&1"

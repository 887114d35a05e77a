"""From published files to passages, queries, judgements and token ids."""

if DATASET.source == "docstrings":

    rule docstrings:
        """Make the embedded dataset from the docstrings of the installed packages."""
        input:
            ancient(LAYOUT.preflight),
        output:
            expand(
                LAYOUT.source("{file}"),
                file=[
                    "source.json",
                    "collection.tsv",
                    "titles.tsv",
                    *[f"{kind}.{split}.tsv" for kind in ("queries", "qrels") for split in ("train", "dev")],
                ],
            ),
        log:
            LAYOUT.log("docstrings"),
        benchmark:
            LAYOUT.benchmark("docstrings")
        conda:
            ENV
        threads: 2
        resources:
            **CPU,
        params:
            sample="--passages {0.passages} --dev-queries {0.dev_queries} --seed {0.seed}".format(DATASET.docstrings),
            folder=lambda wildcards, output: option("--out", os.path.dirname(output[0])),
            version=version("source"),
        shell:
            "python -m led_pipeline.demo.docstrings {params.sample} {params.folder} > {log:q} 2>&1"


if DATASET.source == "download":

    rule download:
        """Fetch one published file; config/sources.yaml lists them."""
        input:
            ancient(LAYOUT.preflight),
        output:
            LAYOUT.source("{file}"),
        log:
            LAYOUT.log("download/{file}"),
        benchmark:
            LAYOUT.benchmark("download/{file}")
        localrule: True
        conda:
            ENV
        params:
            sources=lambda wildcards, output: option("--sources", SOURCES),
            archives=option("--archives", LAYOUT.archives),
            records=option("--records", LAYOUT.checksums),
            published=published_file,
            version=version("source"),
        shell:
            "python -m led_pipeline.fetch.download {params.sources} --name {wildcards.file:q}"
            " {params.archives} {params.records} --out {output:q} > {log:q} 2>&1"


rule prepare_passages:
    """Check the collection and write it as one table; a passage's row in it is its number from here on."""
    input:
        preflight=ancient(LAYOUT.preflight),
        collection=FILES.source_inputs(DATASET.collection_files),
        titles=FILES.source_inputs(DATASET.titles),
    output:
        passages=LAYOUT.passages,
        provenance=LAYOUT.prepared_note("passages"),
    log:
        LAYOUT.log("prepare/passages"),
    benchmark:
        LAYOUT.benchmark("prepare/passages")
    priority: FIRST_OF_ALL
    conda:
        ENV
    resources:
        **CPU,
    params:
        format=option("--format", DATASET.format),
        collection=lambda wildcards, output: option("--collection", *FILES.sources(DATASET.collection_files)),
        titles=lambda wildcards, output: option("--titles", FILES.source(DATASET.titles)) if DATASET.titles else "",
        content=lambda wildcards: content_of_files(collection=DATASET.collection_files, titles=DATASET.titles),
        template=lambda wildcards: arguments.template(DATASET, "passage"),
        skip=arguments.skip(DATASET),
        repair="--repair-encoding" if DATASET.repair_encoding else "",
        version=version("prepare"),
    shell:
        "python -m led_pipeline.data.collection passages {params.format} {params.collection}"
        " {params.titles} {params.template} {params.repair} {params.skip} --out {output.passages:q}"
        " --provenance {output.provenance:q} > {log:q} 2>&1"


rule prepare_split:
    """Check the queries and judgements of one split; training takes queries with a relevant passage only.

    The qrels of a split without judgements are empty.
    """
    input:
        queries=lambda wildcards: FILES.source_inputs(
            [
                *DATASET.queries_of(wildcards.split),
                *DATASET.ids_of(wildcards.split),
                *DATASET.ids_without(wildcards.split),
            ]
        ),
        qrels=lambda wildcards: FILES.source_inputs(DATASET.qrels_of(wildcards.split)),
        passages=LAYOUT.passages,
    output:
        queries=LAYOUT.queries("{split}"),
        qrels=LAYOUT.qrels("{split}"),
        provenance=LAYOUT.prepared_note("{split}"),
    log:
        LAYOUT.log("prepare/{split}"),
    benchmark:
        LAYOUT.benchmark("prepare/{split}")
    wildcard_constraints:
        split=any_of(name for name, split in DATASET.splits.items() if not split.union_of),
    priority: FIRST_OF_ALL
    conda:
        ENV
    resources:
        **CPU,
    params:
        format=option("--format", DATASET.format),
        queries=lambda wildcards, output: arguments.queries(FILES, wildcards.split),
        qrels=lambda wildcards, output: arguments.option_if("--qrels", FILES.sources(DATASET.qrels_of(wildcards.split))),
        content=lambda wildcards: content_of_files(
            queries=DATASET.queries_of(wildcards.split),
            qrels=DATASET.qrels_of(wildcards.split),
            ids=DATASET.ids_of(wildcards.split),
            without=DATASET.ids_without(wildcards.split),
        ),
        selection=lambda wildcards: arguments.selection(RECIPE, wildcards.split),
        template=lambda wildcards: arguments.template(DATASET, "query"),
        skip=arguments.skip(DATASET),
        repair="--repair-encoding" if DATASET.repair_encoding else "",
        version=version("prepare"),
    shell:
        "python -m led_pipeline.data.collection split {params.format} {params.queries}"
        " {params.qrels} {params.selection} {params.template} {params.repair} --passages {input.passages:q}"
        " {params.skip} --out-queries {output.queries:q} --out-qrels {output.qrels:q}"
        " --provenance {output.provenance:q} > {log:q} 2>&1"


rule join_splits:
    """Join the queries and judgements of several splits, from which stages learn together."""
    input:
        queries=lambda wildcards: [LAYOUT.queries(split) for split in DATASET.splits[wildcards.split].union_of],
        qrels=lambda wildcards: [LAYOUT.qrels(split) for split in DATASET.splits[wildcards.split].union_of],
    output:
        queries=LAYOUT.queries("{split}"),
        qrels=LAYOUT.qrels("{split}"),
        provenance=LAYOUT.prepared_note("{split}"),
    log:
        LAYOUT.log("prepare/{split}"),
    benchmark:
        LAYOUT.benchmark("prepare/{split}")
    wildcard_constraints:
        split=any_of(name for name, split in DATASET.splits.items() if split.union_of),
    priority: FIRST_OF_ALL
    conda:
        ENV
    resources:
        **CPU,
    params:
        names=lambda wildcards: option("--names", *DATASET.splits[wildcards.split].union_of),
        version=version("union"),
    shell:
        "python -m led_pipeline.data.union {params.names} --queries {input.queries:q} --qrels {input.qrels:q}"
        " --out-queries {output.queries:q} --out-qrels {output.qrels:q} --provenance {output.provenance:q}"
        " > {log:q} 2>&1"


rule tokenise_passages:
    """Tokenise one shard of the collection, once for all stages that share a tokenizer."""
    input:
        passages=LAYOUT.passages,
        tokenizer=lambda wildcards: FILES.model_inputs(TOKENIZER_OF[wildcards.tokenizer]),
    output:
        LAYOUT.passage_tokens("{tokenizer}", "{shard}"),
    log:
        LAYOUT.log("tokens/{tokenizer}.passages.{shard}"),
    benchmark:
        LAYOUT.benchmark("tokens/{tokenizer}.passages.{shard}")
    priority: FIRST_OF_ALL
    conda:
        ENV
    threads: RECIPE.resources.cpu.threads
    resources:
        **CPU,
    params:
        tokenizer=lambda wildcards, output: option("--tokenizer", FILES.model(TOKENIZER_OF[wildcards.tokenizer])),
        content=lambda wildcards: content(tokenizer=lambda: content_of_tokenizer(TOKENIZER_OF[wildcards.tokenizer])),
        max_tokens=option("--max-tokens", DATASET.max_tokens),
        shards=option("--shards", DATASET.shards),
        version=version("tokens"),
    shell:
        "RAYON_NUM_THREADS={threads} python -m led_pipeline.data.tokens --texts {input.passages:q}"
        " {params.tokenizer} {params.max_tokens} --shard {wildcards.shard:q} {params.shards} --out {output:q} > {log:q} 2>&1"


rule tokenise_queries:
    """Tokenise the queries of one split."""
    input:
        queries=LAYOUT.queries("{split}"),
        tokenizer=lambda wildcards: FILES.model_inputs(TOKENIZER_OF[wildcards.tokenizer]),
    output:
        LAYOUT.query_tokens("{tokenizer}", "{split}"),
    log:
        LAYOUT.log("tokens/{tokenizer}.{split}"),
    benchmark:
        LAYOUT.benchmark("tokens/{tokenizer}.{split}")
    priority: FIRST_OF_ALL
    conda:
        ENV
    resources:
        **CPU,
    params:
        tokenizer=lambda wildcards, output: option("--tokenizer", FILES.model(TOKENIZER_OF[wildcards.tokenizer])),
        content=lambda wildcards: content(tokenizer=lambda: content_of_tokenizer(TOKENIZER_OF[wildcards.tokenizer])),
        max_tokens=option("--max-tokens", DATASET.max_tokens),
        version=version("tokens"),
    shell:
        "python -m led_pipeline.data.tokens --texts {input.queries:q} {params.tokenizer}"
        " {params.max_tokens} --out {output:q} > {log:q} 2>&1"

"""From published files to passages, queries, judgements and token ids."""

if DATASET.source == "docstrings":

    rule docstrings:
        """Make the embedded dataset from the docstrings of the installed packages."""
        input:
            ancient(PREFLIGHT),
        output:
            expand(
                f"{ROOT}/source/{{file}}",
                file=[
                    "source.json",
                    "collection.tsv",
                    "titles.tsv",
                    *[f"{kind}.{split}.tsv" for kind in ("queries", "qrels") for split in ("train", "dev")],
                ],
            ),
        log:
            f"{LOGS}/docstrings.log",
        conda:
            ENV
        threads: 2
        resources:
            mem_mb=job("cpu", "mem_mb"),
            runtime=job("cpu", "runtime_min"),
        params:
            sample="--passages {0.passages} --dev-queries {0.dev_queries} --seed {0.seed}".format(DATASET.docstrings),
            folder=lambda wildcards, output: os.path.dirname(output[0]),
            version=version("source"),
        shell:
            "python -m led_pipeline.data.docstrings {params.sample} --out {params.folder} > {log} 2>&1"


if DATASET.source == "download":

    rule download:
        """Fetch one published file; which ones there are stands in config/sources.yaml."""
        input:
            ancient(PREFLIGHT),
        output:
            f"{ROOT}/source/{{file}}",
        log:
            f"{LOGS}/download/{{file}}.log",
        localrule: True
        conda:
            ENV
        params:
            sources=lambda wildcards, output: os.path.join(CONFIG, "sources.yaml"),
            archives=f"{ROOT}/source/.archives",
            records=f"{ROOT}/source/checksums",
            version=version("source"),
        shell:
            "python -m led_pipeline.data.download --sources {params.sources} --name {wildcards.file}"
            " --archives {params.archives} --records {params.records} --out {output} > {log} 2>&1"


rule prepare_passages:
    """Check the collection and write it as one table; a passage's row in it is its number from here on."""
    input:
        preflight=ancient(PREFLIGHT),
        collection=source_file(DATASET.collection_file),
        titles=[source_file(DATASET.titles)] if DATASET.titles else [],
    output:
        passages=f"{ROOT}/prepared/passages.parquet",
        provenance=f"{ROOT}/prepared/passages.json",
    log:
        f"{LOGS}/prepare/passages.log",
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        format=DATASET.format,
        collection=lambda wildcards, input: source(DATASET.collection_file),
        titles=lambda wildcards, input: f"--titles {shlex.quote(source(DATASET.titles))}" if input.titles else "",
        template=lambda wildcards: template("passage"),
        skip=" ".join(DATASET.skip),
        repair="--repair-encoding" if DATASET.repair_encoding else "",
        version=version("prepare"),
    shell:
        "python -m led_pipeline.data.collection passages --format {params.format} --collection {params.collection:q}"
        " {params.titles} {params.template} {params.repair} --skip {params.skip} --out {output.passages}"
        " --provenance {output.provenance} > {log} 2>&1"


rule prepare_split:
    """Check the queries and judgements of one split; training takes queries with a relevant passage only."""
    input:
        queries=lambda wildcards: source_file(DATASET.queries_of(wildcards.split)),
        qrels=lambda wildcards: source_file(DATASET.qrels_of(wildcards.split)),
        passages=f"{ROOT}/prepared/passages.parquet",
    output:
        queries=f"{ROOT}/prepared/{{split}}.queries.parquet",
        qrels=f"{ROOT}/prepared/{{split}}.qrels",
        provenance=f"{ROOT}/prepared/{{split}}.json",
    log:
        f"{LOGS}/prepare/{{split}}.log",
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        format=DATASET.format,
        queries=lambda wildcards, input: source(DATASET.queries_of(wildcards.split)),
        qrels=lambda wildcards, input: source(DATASET.qrels_of(wildcards.split)),
        selection=selected,
        template=lambda wildcards: template("query"),
        skip=" ".join(DATASET.skip),
        repair="--repair-encoding" if DATASET.repair_encoding else "",
        version=version("prepare"),
    shell:
        "python -m led_pipeline.data.collection split --format {params.format} --queries {params.queries:q}"
        " --qrels {params.qrels:q} {params.selection} {params.template} {params.repair} --passages {input.passages}"
        " --skip {params.skip} --out-queries {output.queries} --out-qrels {output.qrels}"
        " --provenance {output.provenance} > {log} 2>&1"


rule tokenise_passages:
    """Tokenise one shard of the collection, once for all stages that share a tokenizer."""
    input:
        passages=f"{ROOT}/prepared/passages.parquet",
        tokenizer=lambda wildcards: model_input(TOKENIZERS[wildcards.tokenizer]),
    output:
        f"{ROOT}/tokens/{{tokenizer}}/passages.{{shard}}.arrow",
    log:
        f"{LOGS}/tokens/{{tokenizer}}.passages.{{shard}}.log",
    conda:
        ENV
    threads: job("cpu", "threads")
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        tokenizer=lambda wildcards: model_argument(TOKENIZERS[wildcards.tokenizer]),
        max_tokens=DATASET.max_tokens,
        shards=DATASET.shards,
        version=version("tokens"),
    shell:
        "RAYON_NUM_THREADS={threads} python -m led_pipeline.data.tokens --texts {input.passages}"
        " --tokenizer {params.tokenizer:q} --max-tokens {params.max_tokens} --shard {wildcards.shard}"
        " --shards {params.shards} --out {output} > {log} 2>&1"


rule tokenise_queries:
    """Tokenise the queries of one split."""
    input:
        queries=f"{ROOT}/prepared/{{split}}.queries.parquet",
        tokenizer=lambda wildcards: model_input(TOKENIZERS[wildcards.tokenizer]),
    output:
        f"{ROOT}/tokens/{{tokenizer}}/{{split}}.arrow",
    log:
        f"{LOGS}/tokens/{{tokenizer}}.{{split}}.log",
    conda:
        ENV
    resources:
        mem_mb=job("cpu", "mem_mb"),
        runtime=job("cpu", "runtime_min"),
    params:
        tokenizer=lambda wildcards: model_argument(TOKENIZERS[wildcards.tokenizer]),
        max_tokens=DATASET.max_tokens,
        version=version("tokens"),
    shell:
        "python -m led_pipeline.data.tokens --texts {input.queries} --tokenizer {params.tokenizer:q}"
        " --max-tokens {params.max_tokens} --out {output} > {log} 2>&1"

"""Before the run: check this machine, and fetch models from a hub. Both are local rules."""


rule preflight:
    """Estimate the recipe and check this machine, so that a run that cannot succeed ends within seconds."""
    output:
        # `update` keeps the earlier file if the check fails; without it, all dependents would run again. If there is no
        # earlier file, Snakemake would complain that it cannot restore it.
        update(LAYOUT.preflight) if os.path.exists(LAYOUT.preflight) else LAYOUT.preflight,
    log:
        LAYOUT.log("preflight"),
    benchmark:
        LAYOUT.benchmark("preflight")
    retries: 0
    localrule: True
    conda:
        ENV
    params:
        # A function of `output`: changes of its value do not re-run the rule.
        arguments=preflight_arguments,
    shell:
        "HF_HUB_OFFLINE=$HUB_OFFLINE python -m led_pipeline.plan.preflight {params.arguments} --out {output:q}"
        " > {log:q} 2>&1 || {{ cat {log:q} >&2; exit 1; }}"


rule fetch_model:
    """Fetch a model or a tokenizer from the hub into the results, where all later jobs read it."""
    input:
        ancient(LAYOUT.preflight),
    output:
        directory(LAYOUT.hub_folder("{model}")),
    log:
        LAYOUT.log("hub/{model}"),
    benchmark:
        LAYOUT.benchmark("hub/{model}")
    localrule: True
    conda:
        ENV
    params:
        name=lambda wildcards: option("--name", HUB_MODELS[wildcards.model].name),
        parts=lambda wildcards: " ".join(
            f"--{part}" for part in ("weights", "tokenizer") if getattr(HUB_MODELS[wildcards.model], part)
        ),
        named_at=lambda wildcards, output: option("--keys", *HUB_MODELS[wildcards.model].keys),
        version=version("hub"),
    shell:
        "HF_HUB_OFFLINE=$HUB_OFFLINE TRANSFORMERS_OFFLINE=$HUB_OFFLINE python -m led_pipeline.fetch.hub {params.name}"
        " {params.parts} {params.named_at} --out {output:q} > {log:q} 2>&1 || {{ cat {log:q} >&2; exit 1; }}"

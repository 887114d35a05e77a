"""Before the run: whether this machine can do it, and what has to come from a model hub. Both are local rules."""


rule preflight:
    """Estimate the recipe and check this machine: a run that cannot end well ends here, in seconds."""
    output:
        # A check that fails leaves the file of an earlier one: without it, all that was made since would be made again.
        # Where there is none, Snakemake would say that it cannot be restored.
        update(LAYOUT.preflight) if os.path.exists(LAYOUT.preflight) else LAYOUT.preflight,
    log:
        LAYOUT.log("preflight"),
    retries: 0
    localrule: True
    conda:
        ENV
    params:
        # What a function makes from `output` does not re-run a rule when it changes.
        arguments=preflight_arguments,
    shell:
        "HF_HUB_OFFLINE=$HUB_OFFLINE python -m led_pipeline.plan.preflight {params.arguments} --out {output:q}"
        " > {log:q} 2>&1 || {{ cat {log:q} >&2; exit 1; }}"


rule fetch_model:
    """Bring a model or a tokenizer from the hub into the results, from where every later job reads it."""
    input:
        ancient(LAYOUT.preflight),
    output:
        directory(LAYOUT.hub_folder("{model}")),
    log:
        LAYOUT.log("hub/{model}"),
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

"""Params that re-run a rule where something that the user names was replaced, whatever its date."""

from led_pipeline.data.contents import Contents
from led_pipeline.fetch.sources import read_source
from snakemake_interface_executor_plugins.settings import ExecMode

CONTENTS = Contents(LAYOUT.contents)


def content_of(path):
    """The bytes of a file of the user's in place of its path and date; its ending may say how to read them."""
    return CONTENTS.file(path) + "".join(Path(path).suffixes)


def content(**parts):
    """What is in the parts, each a function without arguments.

    It is compared where runs are planned, on the machine that starts them; jobs elsewhere need not read anything.
    """
    if workflow.exec_mode != ExecMode.DEFAULT:
        return ""
    try:
        return arguments.as_json({"content": {name: value() for name, value in parts.items()}})
    except InputError as error:
        sys.exit(f"error: {error}")  # Snakemake would add a traceback to any other exception in a param


def content_of_files(**names):
    """`content` of files in the user's folder; others are inputs of the rule, since a rule makes them."""
    users = {name: file for name, file in names.items() if file and DATASET.source == "folder"}
    return content(**{name: lambda file=file: content_of(FILES.source(file)) for name, file in users.items()})


def content_of_model(name, without=()):
    """What a name means: a stage, a model of the hub, or what a local folder holds."""
    if not name or name in RECIPE.stages or name in HUB:
        return name
    return CONTENTS.folder(name, without)


def content_of_tokenizer(name):
    """The same of a tokenizer: weights beside it do not count."""
    return content_of_model(name, hub.WEIGHTS)


def content_of_stage(step):
    """All that a model is made of besides the outputs of other rules."""
    return lambda wildcards: content(
        settings=lambda: RECIPE.settings(step, wildcards.stage, content_of),
        init=lambda: content_of_model(RECIPE.stages[wildcards.stage].init),
        query_init=lambda: content_of_model(needs.query_init_of(RECIPE, wildcards.stage)),
        tokenizer=lambda: content_of_tokenizer(RECIPE.tokenizer_of(wildcards.stage)),
    )


def published_file(wildcards):
    """Which published file a name means: by its checksum, or else by where it is; a mirror changes neither."""
    entry = speaking(read_source, Path(SOURCES), wildcards.file)
    return arguments.as_json({"published": entry.checksums or entry.url[0], "member": entry.member})

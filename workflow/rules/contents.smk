"""Params that re-run a rule if the content of a user's file or model changes, whatever its date."""

from led_pipeline.data.contents import Contents
from led_pipeline.fetch.sources import read_source
from snakemake_interface_executor_plugins.settings import ExecMode

CONTENTS = Contents(LAYOUT.contents)


def content_of(path):
    """Return a digest of a user's file or folder and its suffixes, which may determine how it is read."""
    digest = CONTENTS.folder if Path(path).is_dir() else CONTENTS.file
    return digest(path) + "".join(Path(path).suffixes)


def content(**parts):
    """Return the content of the parts, each a function without arguments.

    Only the machine that plans a run compares it; jobs on other machines read nothing.
    """
    if workflow.exec_mode != ExecMode.DEFAULT:
        return ""
    values = {}
    for name, value in parts.items():
        try:
            values[name] = value()
        except InputError as error:
            advice = "; without judgements, say `qrels: none` for this split" if name == "qrels" else ""
            sys.exit(f"error: {error}{advice}")  # Snakemake would add a traceback to any other exception in a param
    return arguments.as_json({"content": values})


def content_of_all(files):
    """Return the content of one file, or that of each of several."""
    contents = [content_of(FILES.source(file)) for file in ([files] if isinstance(files, str) else files)]
    return contents[0] if len(contents) == 1 else contents


def content_of_files(**names):
    """Return `content` of files in the user's folder, a name or a list each; other files are inputs of the rule."""
    users = {name: files for name, files in names.items() if files and DATASET.source == "folder"}
    return content(**{name: lambda files=files: content_of_all(files) for name, files in users.items()})


def content_of_model(name, without=()):
    """Return the name of a stage or of a hub model, or a digest of a local folder."""
    if not name or name in RECIPE.stages or name in HUB:
        return name
    return CONTENTS.folder(name, without)


def content_of_tokenizer(name):
    """Return `content_of_model` of a tokenizer, without the weights in its folder."""
    return content_of_model(name, hub.WEIGHTS)


def content_of_stage(step):
    """Return a function that gives the content of everything a model depends on, except outputs of other rules."""

    def parts(stage):
        lengths = arguments.lengths_of_init(RECIPE, stage)
        return dict(
            settings=lambda: RECIPE.settings(step, stage, content_of),
            init=lambda: content_of_model(RECIPE.stages[stage].init),
            query_init=lambda: content_of_model(needs.query_init_of(RECIPE, stage)),
            tokenizer=lambda: content_of_tokenizer(RECIPE.tokenizer_of(stage)),
            **({"lengths_of_init": lambda: lengths} if lengths else {}),
        )

    return lambda wildcards: content(**parts(wildcards.stage))


def published_file(wildcards):
    """Identify a published file by its checksum or else its first URL; a mirror changes neither."""
    entry = speaking(read_source, Path(SOURCES), wildcards.file)
    return arguments.as_json({"published": entry.checksums or entry.url[0], "member": entry.member})

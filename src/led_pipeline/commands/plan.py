"""`led plan`: estimate what a recipe needs, and check whether it can run on this machine, in seconds."""

from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.commands.options import Config, ConfigFile, Directory, absolute, config_path, inside
from led_pipeline.files.errors import InputError
from led_pipeline.plan.preflight import elsewhere, look, report, status, wall_times
from led_pipeline.plan.site import Site
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import read_recipe

HERE = ("local", "dryrun", "touch")  # Snakemake's own executors
PLUGINS = "snakemake_executor_plugin_"


def beside(name: str) -> Path:
    """Return a file of the workflow's config folder: in the working directory, or else in the source tree."""
    local = Path("config", name)
    return local if local.is_file() else Path(__file__).parents[3] / "config" / name


def check_executor(name: str) -> None:
    """Check that Snakemake has an executor of this name.

    Raises:
        InputError: neither Snakemake nor an installed plugin has it.
    """
    packages = (d.metadata["Name"].replace("-", "_").lower() for d in distributions() if d.metadata["Name"])
    plugins = {p.removeprefix(PLUGINS).replace("_", "-") for p in packages if p.startswith(PLUGINS)}
    names = [*HERE, *sorted(plugins)]
    if name not in names:
        raise InputError(
            f"--executor: no executor '{name}'{nearest(name, names)}; there are {', '.join(names)}, and others with"
            f" their plugin (pip install snakemake-executor-plugin-{name})"
        )


def gpu_counts(text: str | None) -> list[int]:
    """Return the numbers of `--gpus`, each once.

    Raises:
        InputError: one is no number.
    """
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    for part in parts:
        if not (part.isascii() and part.isdigit()):
            raise InputError(f"--gpus: '{part}' is no number of GPUs; write 8, or several with commas, such as 1,4,8")
    return list(dict.fromkeys(map(int, parts)))


def plan(
    config: Config = None,
    configfile: ConfigFile = None,
    directory: Directory = Path(),
    gpus: Annotated[
        str | None,
        typer.Option(metavar="<n,n,...>", help="GPUs of a run, as snakemake --resources gpu=N; several: 1,4,8"),
    ] = None,
    executor: Annotated[str, typer.Option(help="as snakemake --executor; slurm: the GPUs are elsewhere")] = "local",
) -> None:
    """Estimate what a recipe needs, and check this machine."""
    check_executor(executor)
    path = config_path(config, configfile, directory)
    sources, published = (absolute(beside(name), directory) for name in ("sources.yaml", "published.yaml"))
    with inside(directory):
        recipe = read_recipe(path, Path())
        results = Path(Layout.of(recipe.dataset.name).root)
        counts = gpu_counts(gpus)
        site = Site(results, sources, published, elsewhere(executor), max(counts, default=None))
        outlook = look(recipe, site)
        walls = wall_times(outlook, site, counts)
    print(report(outlook, site, walls))
    raise typer.Exit(status(outlook.findings))

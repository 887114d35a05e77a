"""The command `led`: what a person asks of the pipeline besides running it.

`led plan [--configfile F]` prints what a recipe takes and what would prevent a run on this machine, in seconds.
`led reference` prints the page docs/reference/recipe.md: every key of a recipe; with `--schema` a JSON schema of them.
`led summary results/a results/b` sets the measures of several datasets beside one another, with their mean.
"""

import argparse
import sys
from pathlib import Path

from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml
from led_pipeline.jobs.command import run_main
from led_pipeline.plan.checks import Site
from led_pipeline.plan.preflight import elsewhere, look, report, status
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe, trained_in
from led_pipeline.recipe.reference import page, schema

CONFIG = Path("config/config.yaml")


def read_recipe(path: Path, folder: Path) -> Recipe:
    """Read and check a config file; `folder` is the one that has or gets results/.

    Raises:
        InputError: it is not there, not YAML, or not a recipe.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a config with --configfile")
    return load_recipe(read_yaml(path) or {}, trained=lambda dataset: trained_in(folder / Layout.of(dataset).root))


def beside(name: str) -> Path:
    """Return a file that comes with the workflow: that of the folder led is called in, or that of the source tree."""
    here = Path("config", name)
    return here if here.is_file() else Path(__file__).parents[2] / "config" / name


def plan(arguments: argparse.Namespace) -> int:
    recipe = read_recipe(arguments.configfile, arguments.directory)
    folder = arguments.directory / Layout.of(recipe.dataset.name).root
    site = Site(folder, beside("sources.yaml"), beside("published.yaml"), elsewhere(arguments.executor), arguments.gpus)
    cost, results = look(recipe, site)
    print(report(recipe, site, cost, results))
    return status(results)


def reference(arguments: argparse.Namespace) -> int:
    print(schema() if arguments.schema else page(), end="")
    return 0


def summarise(arguments: argparse.Namespace) -> int:
    from led_pipeline.report import summary  # its measures load SciPy, which the other commands need not wait for

    result = summary.summary(arguments.results, arguments.split)
    if arguments.json:
        write_json(arguments.json, result)
    print(summary.summary_text(result), end="")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="led", description="led_pipeline: ask about a recipe and its results.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("plan", help="what a recipe takes, and what would prevent a run here")
    command.add_argument("--configfile", type=Path, default=CONFIG, help=f"the recipe (default: {CONFIG})")
    command.add_argument("--directory", type=Path, default=Path(), help="the folder that has or gets results/")
    command.add_argument("--gpus", type=int, help="no job gets more, as with snakemake --resources gpu=N")
    command.add_argument("--executor", default="local", help="as with snakemake --executor; slurm: GPUs are elsewhere")
    command.set_defaults(run=plan)
    command = commands.add_parser("reference", help="every key of a recipe, as a page in Markdown")
    command.add_argument("--schema", action="store_true", help="as a JSON schema, for editors, instead")
    command.set_defaults(run=reference)
    command = commands.add_parser("summary", help="nDCG@10 and recall@100 of several finished runs, and their means")
    command.add_argument("results", type=Path, nargs="+", help="results folders, one per dataset")
    command.add_argument("--split", help="which split of each (default: the first that its recipe evaluates)")
    command.add_argument("--json", type=Path, help="also write the numbers to this file")
    command.set_defaults(run=summarise)
    arguments = parser.parse_args()
    sys.exit(arguments.run(arguments))


def entry() -> None:
    """Run `led`; what the user gave wrong becomes one line, not a traceback."""
    run_main(main)


if __name__ == "__main__":
    entry()

"""The command `led`: estimate a recipe, print the reference of its keys, and summarise results.

`led plan [--configfile F]` estimates what a recipe needs and checks whether it can run on this machine, in seconds.
`led reference` prints the page docs/reference/recipe.md with every key of a recipe; `--schema` prints a JSON schema.
`led summary results/a results/b` compares the measures of several datasets and gives their mean.
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
    """Read and check a config file; `folder` is the parent of results/.

    Raises:
        InputError: the file does not exist, is not YAML, or is not a valid recipe.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a config with --configfile")
    return load_recipe(read_yaml(path) or {}, trained=lambda dataset: trained_in(folder / Layout.of(dataset).root))


def beside(name: str) -> Path:
    """Return a file of the workflow's config folder: in the working directory, or else in the source tree."""
    local = Path("config", name)
    return local if local.is_file() else Path(__file__).parents[2] / "config" / name


def plan(configfile: Path, directory: Path, gpus: int | None, executor: str) -> int:
    """Print the estimate and the checks of a recipe; return the exit status."""
    recipe = read_recipe(configfile, directory)
    results = directory / Layout.of(recipe.dataset.name).root
    site = Site(results, beside("sources.yaml"), beside("published.yaml"), elsewhere(executor), gpus)
    estimate, findings = look(recipe, site)
    print(report(recipe, site, estimate, findings))
    return status(findings)


def summarise(results: list[Path], split: str | None, json: Path | None) -> None:
    """Print the measures of several results folders, and write them to a JSON file if one is given."""
    from led_pipeline.report import summary  # it loads SciPy, which the other commands do not need

    result = summary.summary(results, split)
    if json:
        write_json(json, result)
    print(summary.summary_text(result), end="")


def main() -> None:
    parser = argparse.ArgumentParser(prog="led", description="led_pipeline: estimate a recipe, summarise its results.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("plan", help="estimate what a recipe needs, and check this machine")
    command.add_argument("--configfile", type=Path, default=CONFIG, help=f"the recipe (default: {CONFIG})")
    command.add_argument("--directory", type=Path, default=Path(), help="the parent folder of results/")
    command.add_argument("--gpus", type=int, help="GPUs per job at most, as with snakemake --resources gpu=N")
    command.add_argument("--executor", default="local", help="as with snakemake --executor; slurm: GPUs are elsewhere")
    command = commands.add_parser("reference", help="print every key of a recipe as a Markdown page")
    command.add_argument("--schema", action="store_true", help="print a JSON schema, for editors, instead")
    command = commands.add_parser("summary", help="nDCG@10 and recall@100 of several finished runs, and their means")
    command.add_argument("results", type=Path, nargs="+", help="results folders, one per dataset")
    command.add_argument("--split", help="the split of each (default: the first that its recipe evaluates)")
    command.add_argument("--json", type=Path, help="also write the numbers to this file")
    a = parser.parse_args()
    if a.command == "plan":
        sys.exit(plan(a.configfile, a.directory, a.gpus, a.executor))
    if a.command == "summary":
        summarise(a.results, a.split, a.json)
    else:
        print(schema() if a.schema else page(), end="")


def entry() -> None:
    """Run `led`; wrong input becomes one line instead of a traceback."""
    run_main(main)


if __name__ == "__main__":
    entry()

"""Let a target come last: `snakemake --cores all --resources gpu=8 led_final`.

Snakemake's options that take several NAME=VALUE pairs consume every word up to the next option, a target too, and then
fail on it. Snakemake imports this package while it builds its parser, before it reads the command line, so the words
that cannot be pairs are moved to where targets belong, and so are files under results/ after a config file. Any other
command that Snakemake accepts stays as it is. LED_TARGET_LAST=0 switches this off.

A config file that does not exist ends the command with one sentence here; Snakemake would print a traceback.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

PAIRS = (
    "--resources", "--res", "--default-resources", "--default-res", "--set-resources", "--set-resource-scopes",
    "--set-threads", "--set-scatter", "--groups", "--group-components", "--consider-ancient", "--config", "-C",
)  # fmt: skip
FILES = ("--configfile", "--configfiles")
SUFFIXES = (".yaml", ".yml", ".json")
ENCODED = "base64//"  # how Snakemake passes pairs to the Snakemakes that it starts


def _is_no_pair(word: str) -> bool:
    return "=" not in word and not word.startswith(ENCODED)


def _is_no_config(word: str) -> bool:
    path = Path(word)
    if path.parts[:1] == ("results",):  # measures are JSON files, too; a recipe of finished results is recipe.json
        return path.name != "recipe.json"
    return not word.endswith(SUFFIXES) and not path.is_file()


def with_targets_first(words: Sequence[str]) -> list[str]:
    """Return a command line, without its program, whose options consume no target.

    Targets that follow `--` stay behind it, and the moved ones come right after it: argparse takes one group of them.
    """
    rest: list[str] = []
    targets: list[str] = []
    is_target: Callable[[str], bool] | None = None
    values = 0  # of the current option
    for place, word in enumerate(words):
        if word == "--":
            return [*rest, "--", *targets, *words[place + 1 :]]
        if word.startswith("-"):
            option, _, value = word.partition("=")
            is_target = _is_no_pair if option in PAIRS else _is_no_config if option in FILES else None
            if value:
                is_target = None  # --resources=gpu=8 has its only value
            values = 0
        elif is_target and values and is_target(word):
            targets.append(word)
            continue
        else:
            values += 1
        rest.append(word)
    return [*targets, *rest]


def missing_config(words: Sequence[str]) -> str | None:
    """Return the first value of --configfile that is no file; None if there is none."""
    consumes = False
    for word in words:
        if word.startswith("-"):
            option, _, value = word.partition("=")
            consumes = option in FILES and not value
            values = [value] if option in FILES and value else []
        else:
            values = [word] if consumes else []
        if values and not Path(values[0]).exists():
            return values[0]
    return None


def move() -> None:
    """Change the command line of this process, if it is that of a user's Snakemake; --mode is that of a job's."""
    program = Path(sys.argv[0])
    is_snakemake = program.name == "snakemake" or program.parts[-2:] == ("snakemake", "__main__.py")
    if is_snakemake and "--mode" not in sys.argv and os.environ.get("LED_TARGET_LAST") != "0":
        sys.argv[1:] = words = with_targets_first(sys.argv[1:])
        if config := missing_config(words):
            sys.exit(f"error: --configfile {config}: no such file in {Path.cwd()}; correct the path of the recipe")

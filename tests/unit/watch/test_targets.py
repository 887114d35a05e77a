"""Targets that come last on Snakemake's command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser, parse_config
from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.utils import base64_prefix

from snakemake_logger_plugin_led.targets import ENCODED, SUFFIXES, move, with_targets_first

ROOT = Path(__file__).parents[3]
LAST = [
    ("--cores all --resources gpu=8 led_final", "led_final --cores all --resources gpu=8"),
    ("--resources gpu=8 mem_mb=100000 led_final -n", "led_final --resources gpu=8 mem_mb=100000 -n"),
    ("--cores 4 --config key=b led_final", "led_final --cores 4 --config key=b"),
    ("-C key=b led_final", "led_final -C key=b"),
    ("--res gpu=8 results/demo/models/led --cores 2", "results/demo/models/led --res gpu=8 --cores 2"),
    ("--set-threads train=4 led_final other", "led_final other --set-threads train=4"),
    ("--set-resources train:gpu=4 led_final", "led_final --set-resources train:gpu=4"),
    ("--default-resources slurm_partition=cpu led_final", "led_final --default-resources slurm_partition=cpu"),
    ("--configfile config/demo.yaml led_final", "led_final --configfile config/demo.yaml"),
    (
        "--configfile a.yaml b.yml results/demo/report/index.html",
        "results/demo/report/index.html --configfile a.yaml b.yml",
    ),
    ("--resources gpu=8 led_final -- other", "--resources gpu=8 -- led_final other"),
]
ACCEPTED = [
    "led_final --cores all --resources gpu=8",
    "--cores all --resources=gpu=8 led_final",
    "--cores all --resources gpu=8 -- led_final",
    "--resources gpu=8 --cores all led_final",
    "--cores all --config=key=b led_final",
    "-Ckey=b led_final --cores 2",
    "--configfile a.yaml b.yml c.json --cores 2",
    "--forcerun train --cores 2",
    "--until den_warmup lex_warmup --cores 2",
    "--resources gpu=8 mem_mb=1 --config key={b:[1,2]} --cores all",
    "--cores 2 --set-threads base64//dHJhaW49NDAw base64//ZHJhdz0xMTEx --resources gpu=8",
    "",
]


@pytest.mark.parametrize(("typed", "expected"), LAST)
def test_a_target_that_an_option_would_consume_comes_first(typed, expected):
    assert with_targets_first(typed.split()) == expected.split()


def test_measures_are_targets_though_configs_may_be_json_files_too():
    typed = "--configfile a.yaml results/demo/report/recipe.json results/demo/eval/led.dev.json"
    expected = "results/demo/eval/led.dev.json --configfile a.yaml results/demo/report/recipe.json"
    assert with_targets_first(typed.split()) == expected.split()


@pytest.mark.parametrize("typed", ACCEPTED)
def test_a_command_that_snakemake_accepts_is_not_changed(typed):
    assert with_targets_first(typed.split()) == typed.split()


@pytest.mark.parametrize(
    "option", ["--configfile {}", "--configfile={}", "--configfiles config/demo.yaml {} --cores 1"]
)
def test_a_missing_config_is_one_sentence(tmp_path, option):
    command = [sys.executable, "-m", "snakemake", "-n", *option.format("config/demmo.yaml").split()]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 1
    fault = f"error: --configfile config/demmo.yaml: no such file in {ROOT}; correct the path of the recipe"
    assert answer.stderr.splitlines() == [fault]


def test_a_config_file_without_a_known_suffix_is_no_target(tmp_path):
    config = tmp_path / "settings"
    config.write_text("a: 1\n")
    words = ["--configfile", "a.yaml", str(config)]
    assert with_targets_first(words) == words


def test_snakemake_encodes_pairs_as_expected():
    assert base64_prefix == ENCODED


@pytest.fixture(scope="module")
def parse():
    """Return a function that gives what Snakemake's own parser makes of words; None if it refuses them."""
    parser = get_argument_parser()

    def parsed(words: list[str]) -> dict | None:
        try:
            arguments = vars(parser.parse_args(words))
            parse_config(arguments["config"])
        except (SystemExit, ValueError, WorkflowError):
            return None
        if any(path.suffix not in SUFFIXES for path in arguments["configfile"]):  # it would not find such a file
            return None
        values = {name: str(value) for name, value in arguments.items() if " object at 0x" not in str(value)}
        return values | {"targets": sorted(arguments["targets"])}

    return parsed


@pytest.mark.parametrize("typed", ACCEPTED)
def test_snakemake_accepts_these_commands(typed, parse):
    assert parse(typed.split()) is not None


@pytest.mark.parametrize(("typed", "expected"), LAST)
def test_snakemake_refuses_targets_that_come_last_and_accepts_them_moved(typed, expected, parse):
    assert parse(typed.split()) is None
    moved = parse(with_targets_first(typed.split()))
    assert moved is not None and moved["targets"] and moved == parse(expected.split())


PROGRAM = "import snakemake_logger_plugin_led, sys; print(*sys.argv[1:])"


@pytest.mark.parametrize(("switch", "expected"), [("", LAST[0][1]), ("1", LAST[0][1]), ("0", LAST[0][0])])
def test_importing_the_plugin_moves_the_words_unless_it_is_switched_off(switch, expected, tmp_path):
    program = tmp_path / "snakemake"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), *LAST[0][0].split()]
    path = os.pathsep.join(sys.path)
    environment = os.environ | {"LED_TARGET_LAST": switch, "PYTHONPATH": path}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert answer.stdout == f"{expected}\n", answer.stderr


@pytest.mark.parametrize("program", ["/usr/bin/pytest", "/bin/snakemake --mode remote"])
def test_other_programs_and_the_snakemakes_of_jobs_keep_their_arguments(program, monkeypatch):
    words = [*program.split(), "--resources", "gpu=8", "led_final"]
    monkeypatch.setattr(sys, "argv", list(words))
    move()
    assert sys.argv == words

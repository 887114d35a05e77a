"""The command as users type it, and what a run shows: on a terminal, without one, and afterwards."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from screen import on_a_terminal
from workflow_copy import ROOT, Plan, WorkflowCopy

pytestmark = pytest.mark.pipeline

TINY = yaml.safe_load(Path(__file__).with_name("tiny.yaml").read_text())
ORDERS = [
    ["--cores", "all", "--resources", "gpu=8", "led_final"],
    ["--resources", "gpu=8", "mem_mb=100000", "led_final", "--cores", "all"],
    ["--cores", "all", "--resources=gpu=8", "led_final"],
    ["--cores", "all", "--resources", "gpu=8", "--", "led_final"],
]


class Copy(WorkflowCopy):
    """A copy with the project's profile and its logger plugin."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        shutil.copytree(ROOT / "profiles", folder / "profiles")

    def options(self, fake: bool = False, **environment: str):
        return super().options(fake, PYTHONPATH=str(self.folder / "src"), **environment)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run the tiny recipe with fake jobs, without a terminal."""
        return self.snakemake(*self.tiny(), *arguments, fake=True, **environment)

    def tiny(self) -> list[str]:
        config = self.write_config(TINY)
        return ["--cores", "4", "--resources", "gpu=8", "--configfile", str(config), "led_final"]

    def status(self) -> str:
        command = [sys.executable, "-m", "led_pipeline.cli", "status", "results/tiny"]
        answer = subprocess.run(command, **self.options(), capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The plan of the command whose target comes first."""
    copy = Copy(tmp_path_factory.mktemp("planned"))
    return copy, copy.plan("led_final", "--cores", "all", "--resources", "gpu=8")


@pytest.mark.parametrize("words", ORDERS, ids=" ".join)
def test_the_target_may_be_the_last_word(planned, words):
    copy, first = planned
    snakemake = Path(sys.executable).parent / "snakemake"
    answer = subprocess.run([snakemake, "--dry-run", *words], **copy.options(), capture_output=True, text=True)
    assert answer.returncode == 0 and Plan(answer.stdout).counts == first.counts, answer.stderr


def test_a_file_may_be_the_last_word(planned):
    copy, _ = planned
    plan = copy.plan("--cores", "all", "--resources", "gpu=8", "results/msmarco/models/den_warmup")
    assert plan.counts["train"] == 1 and "models/den_warmup" in plan.outputs


def test_without_the_plugin_snakemake_works_as_ever(planned):
    copy, first = planned
    words = ["led_final", "--cores", "all", "--resources", "gpu=8", "--dry-run"]
    program = (
        "import sys; from pathlib import Path;"
        "sys.path = [each for each in sys.path if not Path(each, 'snakemake_logger_plugin_led').is_dir()];"
        "from snakemake.cli import main; main()"
    )
    options = copy.options()
    del options["env"]["PYTHONPATH"]
    answer = subprocess.run([sys.executable, "-c", program, *words], **options, capture_output=True, text=True)
    assert answer.returncode == 0 and Plan(answer.stdout).counts == first.counts, answer.stderr


def test_a_run_without_a_terminal_is_lines_and_status_says_the_same(tmp_path):
    copy = Copy(tmp_path)
    answer = copy.run()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = [line.partition(" ")[2] for line in answer.stderr.splitlines()]
    assert "start led train" in lines and any(line.startswith("done  led train in 0:0") for line in lines)
    assert "rule train:" not in answer.stderr and "Select jobs" not in answer.stderr
    record = json.loads((tmp_path / "logs" / "tiny" / "run.json").read_text())
    jobs = len(record["jobs"])
    assert f"results/tiny: {jobs} of {jobs} jobs, " in answer.stderr and record["outcome"] == "success"
    status = copy.status()
    assert f"results/tiny: {jobs} of {jobs} jobs, " in status and ", finished" in status
    stages = ["data", "pretrain", "bm25", *[name for name in TINY["stages"] if name != "pretrain"], "evaluation"]
    assert [line.split()[1] for line in status.splitlines() if line.startswith("✓")] == stages
    check_logs(tmp_path)


def check_logs(folder: Path) -> None:
    """Every log begins with the command that was run, and the time."""
    logs = sorted((folder / "logs").rglob("*.log"))
    assert len(logs) > 60
    for log in logs:
        first = log.read_text().partition("\n")[0]
        assert first.startswith(("+ python -m led_pipeline.", "+ python workflow/scripts/")), log
        assert first.rpartition("  # ")[2].startswith("20"), log


def test_on_a_terminal_the_table_stays_and_jobs_have_no_lines_of_their_own(tmp_path):
    copy = Copy(tmp_path)
    command = copy.command(*copy.tiny())
    for screen in on_a_terminal(command, rows=30, **copy.options(fake=True)):
        during = screen.text
    assert screen.status == 0, during
    lines = screen.text.splitlines()
    heading = next(n for n, line in enumerate(lines) if line.startswith("results/tiny: "))
    assert "finished" in lines[heading] and lines[heading + 1].startswith("✓ data")
    assert not any("start led train" in line or line.startswith("rule ") for line in lines)


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "lines"])
def test_a_failed_job_shows_its_reason_first_and_then_its_log(tmp_path, terminal):
    copy = Copy(tmp_path)
    failing = {"FAIL_AT": "--out results/tiny/models/led ", "FAIL_WITH": "error: it diverged; lower learning_rate"}
    if terminal:
        for screen in on_a_terminal(copy.command(*copy.tiny()), rows=30, **copy.options(fake=True, **failing)):
            text, status = screen.text, screen.status
    else:
        answer = copy.run(**failing)
        text, status = answer.stderr, answer.returncode
    assert status == 1
    reason = text.index("failed: train of led: it diverged; lower learning_rate")
    assert reason < text.index("log: logs/tiny/train/led.log") and "(command exited" not in text
    assert "stopped; run the same command again to continue" in text and "✗ led" in text
    assert "failed: train of led: it diverged; lower learning_rate" in copy.status()


def test_the_table_is_printed_only_by_a_run_that_made_the_report(tmp_path):
    copy, report = Copy(tmp_path), "Look at results/tiny/report/index.html next."
    assert report in copy.run().stdout
    measures = Path("results/tiny/eval/led.dev.json")
    (tmp_path / measures).unlink()
    answer = copy.snakemake(str(measures), *copy.tiny()[:-1], fake=True)
    assert answer.returncode == 0 and (tmp_path / measures).exists() and report not in answer.stdout


def test_snakemakes_own_text_is_one_variable_away(tmp_path):
    answer = Copy(tmp_path).run("--until", "docstrings", LED_VIEW="snakemake")
    assert answer.returncode == 0 and "rule docstrings:" in answer.stderr and "start data" not in answer.stderr

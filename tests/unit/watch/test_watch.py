"""How far a run is, from the files of its jobs."""

import json
import os
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from led_pipeline.files.errors import InputError
from led_pipeline.recipe.load import load_recipe
from led_pipeline.watch import run_file, view
from led_pipeline.watch.remaining import remaining
from led_pipeline.watch.run_file import Job
from led_pipeline.watch.state import Tracker

ROOT = Path(__file__).parents[3]
RECIPE = load_recipe(
    {
        "dataset": {"name": "demo", "source": "docstrings", "splits": {"train": {}, "dev": {}}},
        "tokenizer": "pretrain",
        "resources": {"train": {"gpu": 8, "threads": 16}, "encode": {"gpu": 1}, "score": {"gpu": 2}},
        "stages": {
            "pretrain": {"family": "pretrain"},
            "lex": {"family": "lexicon", "init": "pretrain", "negatives": ["bm25"]},
            "led": {"family": "dense", "init": "pretrain", "negatives": ["bm25"]},
        },
    }
)
LINE = "led: step 200 of 1,000: loss 1.25 (contrastive 1.1), 90 queries/s, 9,000 tokens/s, 04:00 left\n"


def begin(tmp_path, *jobs: Job, cores=None, gpus=None):
    path = tmp_path / "logs" / "demo" / "run.json"
    (tmp_path / "results" / "demo").mkdir(parents=True)
    run_file.begin(path, "results/demo", RECIPE, jobs, cores, gpus)
    return path


def job(tmp_path, rule, stage, number, *, output=False, log=None, **values):
    paths = [tmp_path / f"{rule}.{stage}.{number}.{suffix}" for suffix in ("out", "log")]
    if log is not None:
        paths[1].write_text(log)
    if output:
        paths[0].write_text("x")
    return Job(number, rule, stage, stage, "", *map(str, paths), **values)


def started(seconds_ago: float, command: str = "python -m x") -> str:
    when = datetime.fromtimestamp(time.time() - seconds_ago).astimezone().isoformat(timespec="seconds")
    return f"+ {command}  # {when}\n"


def look(path):
    return Tracker(run_file.read(path)).look()


def test_jobs_are_waiting_running_done_or_failed_by_their_files(tmp_path):
    training = started(60) + LINE + "led: step 200: validation MRR@10 0.4100, recall@10 0.9\n"
    path = begin(
        tmp_path,
        job(tmp_path, "prepare", "data", 1, output=True, log=started(10)),
        job(tmp_path, "train", "led", 2, log=training, gpus=8),
        job(tmp_path, "encode_passages", "led", 3),
        job(tmp_path, "train", "lex", 4, log=started(5) + "error: it diverged; lower learning_rate\nmore\n"),
    )
    state = look(path)
    statuses = [(stage.name, stage.status) for stage in state.stages]
    assert statuses == [("data", "done"), ("lex", "failed"), ("led", "running")]  # the recipe's order
    train, encode = state.stages[2].jobs
    assert (train.status, encode.status) == ("running", "waiting")
    assert train.share == 0.2 and train.seconds_left == 240 and 55 < train.seconds(time.time()) < 75
    assert view.details(train) == "200/1,000 steps  4:00 left  90 queries/s  loss 1.25  MRR@10 0.4100"
    text = "\n".join(view.plain(state))
    assert "results/demo: 1 of 4 jobs, " in text and "8 GPUs in use" in text
    assert "failed: train of lex: it diverged; lower learning_rate\n" in text
    assert f"log: {tmp_path / 'train.lex.4.log'}" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("Traceback (most recent call last):\n  File x\nRuntimeError: CUDA error\n", "RuntimeError: CUDA error"),
        (
            "error: x.tsv could not be downloaded:\n  URL: 404 Not Found\n  what to do\n",
            "x.tsv could not be downloaded: URL: 404 Not Found",
        ),
        (
            "torch.OutOfMemoryError: 2 GB\nE1130 torchrun\ntorch.distributed.ChildFailedError: \n=====\n rank 1\n",
            "torch.OutOfMemoryError: 2 GB",
        ),
    ],
)
def test_a_job_that_failed_has_its_exception_or_the_first_line_after_a_heading_as_the_reason(tmp_path, log, reason):
    state = look(begin(tmp_path, job(tmp_path, "train", "led", 1, log=started(5) + log)))
    assert (state.jobs[0].status, state.jobs[0].error) == ("failed", reason)


def test_warnings_about_the_health_of_a_training_are_shown(tmp_path):
    log = started(5) + LINE + "led: warning: step 200: 30% of the passages have no term left; lower l1\n"
    text = "\n".join(view.plain(look(begin(tmp_path, job(tmp_path, "train", "led", 1, log=log)))))
    assert "warning: led: step 200: 30% of the passages have no term left; lower l1" in text


def test_outputs_and_logs_of_an_earlier_run_do_not_count(tmp_path):
    old = job(tmp_path, "train", "led", 1, output=True, log=started(5))
    for path in (old.output, old.log):
        os.utime(path, (1e9, 1e9))
    assert look(begin(tmp_path, old)).jobs[0].status == "waiting"


def test_the_logger_plugin_looks_only_at_the_logs_of_running_jobs(tmp_path):
    jobs = [job(tmp_path, "encode_passages", "led", n, output=True, log=started(9) + LINE) for n in range(4)]
    tracker = Tracker(run_file.read(begin(tmp_path, *jobs)), by_events=True)
    tracker.start(0)
    tracker.start(1)
    tracker.start(2)
    assert tracker.finish(0).status == "done" and tracker.fail(2).error.startswith("led: step 200")
    for number in (0, 3):  # done and waiting ones
        Path(jobs[number].log).unlink()
    assert [each.status for each in tracker.look().jobs] == ["done", "running", "failed", "waiting"]
    assert tracker.look().jobs[1].share == 0.2
    tracker.start(2)  # Snakemake tries it again
    assert tracker.look().jobs[2].status == "running"
    assert tracker.finish(99) is None  # a target, which is not in the run file


def test_jobs_ask_for_what_the_recipe_says():
    def requests(rule, **wildcards):
        result = run_file.job_of(RECIPE, rule, wildcards, ("out", "log"), 1, [])
        return result.stage, result.owner, result.part, result.threads, result.gpus

    assert requests("train", stage="led") == ("led", "led", "", 16, 8)
    assert requests("pretrain", stage="pretrain") == ("pretrain", "pretrain", "", 16, 0)
    assert requests("encode_passages", stage="led", shard="3", suffix="npy") == ("led", "led", "3", 1, 1)
    assert requests("score_with_ranker", stage="led", system="ranker", shard="0") == ("led", "ranker", "0", 1, 2)
    assert requests("measure", system="led", split="dev") == ("evaluation", "led", "dev", 1, 0)
    assert requests("prepare_split", split="dev") == ("data", "", "dev", 1, 0)


def test_every_rule_with_cores_or_gpus_of_its_own_has_its_kind_of_resources():
    rules = "\n".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    kinds = {}
    for block in re.split(r"^ *(?=rule \w+:$)", rules, flags=re.MULTILINE)[1:]:
        name = re.match(r"rule (\w+):", block)[1]
        if kind := re.search(r"^ +threads: RECIPE\.resources\.(\w+)\.threads$", block, re.MULTILINE):
            kinds[name] = kind[1]
        elif re.search(r"^ +threads: training\(", block, re.MULTILINE):
            kinds[name] = "train"
        elif re.search(r"^ +threads: RECIPE\.job\(LEXICON_KIND\)", block, re.MULTILINE):
            kinds[name] = "cpu"  # search with search.lexicon: exact_gpu
        if re.search(r"^ +gpu=", block, re.MULTILINE):
            assert name in kinds and name not in run_file.WITHOUT_GPU
    assert kinds == run_file.KINDS


def test_a_preflight_that_stops_the_run_says_what_is_fatal(tmp_path):
    log = started(5) + "note   disk   ok\nfatal  java   no Java 21 here\n\n1 of these would stop the run; fix them\n"
    jobs = [job(tmp_path, "preflight", "data", 1, log=log)]
    tracker = Tracker(run_file.read(begin(tmp_path, *jobs)), by_events=True)
    tracker.start(1)
    assert view.failure(tracker.fail(1))[0] == "failed: preflight: java no Java 21 here"


# --- remaining time


def test_estimates_are_corrected_by_what_was_measured(tmp_path):
    """The first encoding took 20 s, where 10 s were estimated: the second takes twice its estimate, too."""
    first = job(tmp_path, "encode_passages", "lex", 1, output=True, log=started(20))
    second = job(tmp_path, "encode_passages", "led", 2)
    path = begin(tmp_path, first, second)
    estimates = {"encode_passages": {"lex": 10.0, "led": 30.0}}
    left = remaining(look(path), estimates)
    assert left.seconds == pytest.approx(60, rel=0.1) and left.unknown == 0
    without = remaining(look(path), {})  # the mean of the rule
    assert without.seconds == pytest.approx(20, rel=0.1)


def test_jobs_about_which_nothing_is_known_make_it_a_lower_bound(tmp_path):
    path = begin(tmp_path, job(tmp_path, "train", "led", 1), job(tmp_path, "pool", "led", 2))
    assert remaining(look(path), {}) is None
    assert "remaining time not known yet" in view.headline(look(path))
    left = remaining(look(path), {"train": {"led": 3600.0}})
    assert (left.seconds, left.unknown) == (3600, 1)
    assert "at least 1:00:00 left" in view.headline(look(path), left)


# --- the end of a run


def test_a_run_says_how_it_ended_and_that_it_was_killed(tmp_path):
    path = begin(tmp_path, job(tmp_path, "train", "led", 1, log=started(5) + LINE))
    ended = run_file.end(path, run_file.read(path), "success")
    assert run_file.read(path) == ended and ended.outcome == "success" and ended.alive is False
    begun = time.time() - 1_000
    os.utime(tmp_path / "train.led.1.log", (begun + 600, begun + 600))
    killed = json.loads(path.read_text()) | {"ended": None, "outcome": None, "process": 2**22 + 1, "started": begun}
    path.write_text(json.dumps(killed))
    state = look(path)
    assert view.headline(state).startswith("0 of 1 jobs, 10:00 elapsed, stopped; run the same command again")
    assert state.jobs[0].status == "failed" and state.jobs[0].error == "stopped before its end"


@pytest.mark.parametrize(
    ("executor", "text"),
    [
        (
            "slurm",
            "killed, but its jobs may still run (squeue --me shows them); cancel them, then run the same command",
        ),
        ("lsf", "killed, but its jobs may still run (they were given to lsf); cancel them, then run the same command"),
        ("local", "stopped; run the same command again to continue"),
        (None, "stopped; run the same command again to continue"),
    ],
)
def test_jobs_of_a_cluster_may_outlive_a_run_that_was_killed(tmp_path, executor, text):
    path = begin(tmp_path, job(tmp_path, "train", "led", 1, log=started(5) + LINE))
    killed = json.loads(path.read_text()) | {"process": 2**22 + 1, "executor": executor}
    path.write_text(json.dumps(killed))
    assert text in view.headline(look(path))
    assert look(path).jobs[0].status == ("running" if text.startswith("killed") else "failed")
    interrupted = json.loads(path.read_text()) | {"ended": time.time(), "outcome": "failure"}
    path.write_text(json.dumps(interrupted))  # Snakemake cancels its jobs after Ctrl-C
    assert "stopped; run the same command again to continue" in view.headline(look(path))


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        run_file.of_results(tmp_path / "results" / "dmeo")
    (tmp_path / "results" / "demo").mkdir(parents=True)
    with pytest.raises(InputError, match="no run was started here yet"):
        run_file.read(run_file.of_results(tmp_path / "results" / "demo"))


# --- the view


def drawn(state, width, height=None) -> list[str]:
    """Return the view on a terminal of some size."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(view.table(state, height=height, width=width))
    return [line.strip() for line in capture.get().splitlines()]


def test_a_narrow_terminal_cuts_only_the_details_of_jobs(tmp_path):
    log = started(5) + LINE
    jobs = [job(tmp_path, "train", "led", 1, log=log), job(tmp_path, "train", "a_stage_with_a_name", 2)]
    _, led, train, other, *_ = drawn(look(begin(tmp_path, *jobs)), 72)
    assert led.startswith("▶ led ") and " 0/1 0:0" in led
    assert train.startswith("train") and "━━────────" in train and "200/1,000 steps" in train
    assert other.startswith("· a_stage_with_a_name ")


def test_stages_share_lines_on_a_low_terminal_and_running_ones_keep_theirs(tmp_path):
    jobs = [job(tmp_path, "train", f"s{n}", n, output=n < 10, log=started(5) if n < 11 else None) for n in range(20)]
    state = look(begin(tmp_path, *jobs))

    def lines(height):
        return drawn(state, 100, height)

    assert len(lines(None)) == 1 + 20 + 1
    low = lines(12)
    assert len(low) <= 12 and any(line.startswith("▶ s10 ") for line in low)
    assert any(line.startswith("✓ done: s0, s1, ") for line in low) and any(
        "· waiting: s11, s12" in line for line in low
    )


def test_many_jobs_of_a_rule_share_a_row(tmp_path):
    jobs = [job(tmp_path, "encode_passages", "led", n, log=started(5)) for n in range(12)]
    text = "\n".join(view.plain(look(begin(tmp_path, *jobs))))
    assert "encode_passages × 12" in text and text.count("encode_passages") == 1

"""The profile for SLURM, against real daemons: which processes start where, and what a stopped job leaves behind."""

import re
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest
from runs import STEPS, TRAINED
from safetensors.numpy import load_file

pytestmark = pytest.mark.cluster


def weights(run):
    return load_file(run.folder / TRAINED / "model.safetensors")


def largest_difference(run, other):
    mine, others = weights(run), weights(other)
    assert mine.keys() == others.keys()
    return max(abs(mine[name] - others[name]).max() for name in mine)


# --- starting jobs


def test_every_job_starts_torchrun_once_with_a_process_per_gpu(results):
    run = results("whole")["run"]
    modules = {note["SLURM_JOB_ID"]: note["module"] for note in run.notes()}
    started = Counter(note["SLURM_JOB_ID"] for note in run.notes() if note["torchrun"])
    assert Counter(modules[job] for job in started) == {
        "led_pipeline.training.train": 1,
        "led_pipeline.inference.encode": 2,
    }
    assert set(started.values()) == {1}
    for job in started:
        assert sorted(note["RANK"] for note in run.ranks(job)) == ["0", "1"]
        assert {note["WORLD_SIZE"] for note in run.ranks(job)} == {"2"}
        assert {note["OMP_NUM_THREADS"] for note in run.ranks(job)} == {"1"}, "the job's two threads are shared"


def test_a_job_sees_as_many_devices_as_it_requests_and_no_two_jobs_share_one(results, cluster):
    run = results("whole")["run"]
    sizes = {"led_pipeline.training.train": 2, "led_pipeline.inference.encode": 2, "led_pipeline.search.faiss_index": 1}
    devices_of = {}
    assert {note["module"] for note in run.notes() if not note["SLURM_JOB_ID"]} == {"led_pipeline.plan.preflight"}
    for note in filter(lambda note: note["SLURM_JOB_ID"], run.notes()):
        assert note["SLURMD_NODENAME"] == "whole1"
        devices = list(filter(None, (note["CUDA_VISIBLE_DEVICES"] or "").split(",")))
        assert len(devices) == sizes.get(note["module"], 0), "a job without a GPU sees none"
        assert devices_of.setdefault(note["SLURM_JOB_ID"], devices) == devices
    assert sorted(map(len, devices_of.values())) == [0, 0, 1, 2, 2, 2]
    times = {job: (cluster.job(job)["StartTime"], cluster.job(job)["EndTime"]) for job in devices_of}
    together = [
        (a, b) for a, b in combinations(devices_of, 2) if times[a][0] < times[b][1] and times[b][0] < times[a][1]
    ]
    assert together, "the encodings run at the same time"
    assert not [(a, b) for a, b in together if set(devices_of[a]) & set(devices_of[b])]


def test_led_status_tells_from_files_alone_how_far_a_run_is(results):
    run = results("whole")["run"]
    (folder,) = (run.folder / "results").iterdir()
    command = [sys.executable, "-m", "led_pipeline.cli", "status", str(folder)]
    status = subprocess.run(command, cwd=run.folder, capture_output=True, text=True)
    assert status.returncode == 0, status.stderr
    heading, *rows = status.stdout.splitlines()
    assert re.search(r": (\d+) of \1 jobs, .* elapsed, finished$", heading), status.stdout
    assert rows and all(row.startswith("✓") for row in rows), status.stdout


# --- stopping jobs


def test_a_training_that_runs_out_of_time_resumes_from_its_checkpoint(results, cluster):
    limit = results("limit")
    assert cluster.job(limit["job"])["JobState"] == "TIMEOUT"
    assert 2 < limit["step"] < limit["run"].first_logged_step()
    assert largest_difference(limit["run"], results("whole")["run"]) == 0, "as if it had never been stopped"


def test_a_second_snakemake_in_the_folder_is_refused(results):
    second = results("limit")["second"]
    assert second.returncode == 1
    assert "Directory cannot be locked" in second.stdout + second.stderr


def test_a_preempted_and_then_cancelled_training_resumes_from_its_checkpoints(results, cluster):
    killed = results("killed")
    job, again = killed["jobs"]
    assert job == again and cluster.job(job)["Restarts"] == "1", "SLURM itself starts a preempted job again"
    assert cluster.job(job)["JobState"] == "CANCELLED"
    first, second = killed["steps"]
    assert 2 < first < second < killed["run"].first_logged_step() <= STEPS
    assert largest_difference(killed["run"], results("whole")["run"]) == 0


def test_ctrl_c_cancels_running_and_pending_jobs(results, cluster):
    interrupted = results("interrupted")
    assert sorted(interrupted["before"].values()) == ["PENDING", "RUNNING"]
    assert interrupted["status"] != 0 and interrupted["after"] == []
    assert {cluster.job(job)["JobState"] for job in interrupted["before"]} == {"CANCELLED"}


# --- several nodes


def test_two_nodes_form_one_world_and_train_the_same_model(results):
    run = results("across")["run"]
    ranks = run.ranks()
    assert sorted(note["RANK"] for note in ranks) == list("0123") and {note["WORLD_SIZE"] for note in ranks} == {"4"}
    assert Counter(note["SLURMD_NODENAME"] for note in ranks) == {"across1": 2, "across2": 2}
    assert Counter(note["SLURMD_NODENAME"] for note in run.notes() if note["torchrun"]) == {"across1": 1, "across2": 1}
    assert {len(note["CUDA_VISIBLE_DEVICES"].split(",")) for note in ranks} == {2}
    assert largest_difference(run, results("whole")["run"]) < 1e-5

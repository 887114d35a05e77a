"""The jobs of a run: times, memory and GPUs from the files that jobs leave."""

import os
from pathlib import Path

import pytest
from configs import RECIPES

from led_pipeline.files.atomic import write_json
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.report.log import TrainLog
from led_pipeline.report.timeline import (
    PAUSE_S,
    Job,
    by_stage,
    dates_are_true,
    frame,
    jobs,
    totals,
    without_pauses,
)

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def recipe():
    return load_recipe(RECIPES["demo.yaml"])


def benchmark(layout, job, seconds, memory, end):
    path = layout.benchmark(job)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(f"{HEADER}{seconds}\t0:00:01\t{memory}\t1\t1\t1\t0\t0\t99\t{seconds}\n")
    os.utime(path, (end, end))


def test_a_run_without_any_note_has_no_times(tmp_path, recipe):
    assert jobs(recipe, tmp_path, {}) == []
    assert set(totals([]).values()) == {None}
    assert set(by_stage(recipe, tmp_path, [])["led"].values()) == {None}


def test_times_come_from_benchmarks_and_gpus_from_the_notes(tmp_path, recipe):
    layout = Layout(tmp_path)
    benchmark(layout, "train/led", 7200.0, 1000.0, 100_000)
    benchmark(layout, "encode/led.passages.0.npy", 1800.0, 3000.0, 102_000)
    benchmark(layout, "rankings/led.dev", 60.0, "NA", 102_500)
    benchmark(layout, "runs/led.dev", "-", "-", 102_501)  # too short to be measured
    Path(layout.model("led")).mkdir(parents=True)
    Path(layout.train_log("led")).touch()
    write_json(
        layout.model_machine("led"), {"device": "X", "gpu": True, "processes": 8, "commit": None, "joules": 3.6e6}
    )
    write_json(layout.encoding_note("led", 0), {"texts": 5, "seconds": 900.0, "processes": 1, "device": "cuda"})
    done = jobs(recipe, tmp_path, {"led": TrainLog(finished={"seconds": 7000.0})})
    assert [(job.name, job.seconds, job.gpus) for job in done] == [
        ("train/led", 7200.0, 8), ("encode/led.passages.0.npy", 1800.0, 1), ("rankings/led.dev", 60.0, None),
    ]  # fmt: skip
    run = totals(done)
    assert run["gpu_hours"] == pytest.approx(2 * 8 + 0.5)
    assert run["wall_seconds"] == 102_500 - (100_000 - 7200)
    assert (run["jobs"], run["job_seconds"], run["memory_bytes"]) == (3, 9060.0, 3000 * 2**20)
    led = by_stage(recipe, tmp_path, done)["led"]
    assert (led["train_seconds"], led["gpu_hours"], led["memory_bytes"]) == (7200.0, 16.0, 1000 * 2**20)
    assert (led["encode_seconds"], led["search_seconds"], led["joules"]) == (1800.0, 60.0, 3.6e6)
    rows = frame(done)
    assert rows["begin"].tolist() == [0.0, 7400.0, 9640.0]
    assert rows["row"].tolist() == ["train led", "encode led", "rankings led"]


def test_without_benchmarks_trainings_and_encodings_tell_their_own_seconds(tmp_path, recipe):
    layout = Layout(tmp_path)
    write_json(layout.encoding_note("led", 0), {"texts": 5, "seconds": 4.0, "processes": 2, "device": "cpu"})
    Path(layout.model("led")).mkdir(parents=True)
    Path(layout.train_log("led")).touch()
    for path, end in ((layout.train_log("led"), 1000), (layout.encoding_note("led", 0), 1500)):
        os.utime(path, (end, end))
    done = jobs(recipe, tmp_path, {"led": TrainLog(finished={"seconds": 90.0}), "den_mixed": TrainLog()})
    assert [(job.name, job.seconds, job.gpus) for job in done] == [
        ("train/led", 90.0, None), ("encode/led.passages.0.npy", 4.0, 0),
    ]  # fmt: skip
    assert totals(done)["gpu_hours"] == 0


def test_the_dates_of_a_copied_folder_are_not_believed(tmp_path, recipe):
    layout = Layout(tmp_path)
    for i, job in enumerate(("train/led", "encode/led.passages.0.npy")):
        benchmark(layout, job, 500.0, 1.0, 9000 + i)
    done = jobs(recipe, tmp_path, {})
    assert not dates_are_true(done) and totals(done)["wall_seconds"] is None
    assert totals(done)["job_seconds"] == 1000.0
    os.utime(layout.benchmark("encode/led.passages.0.npy"), (9600, 9600))
    assert dates_are_true(jobs(recipe, tmp_path, {}))


def test_a_pause_between_two_starts_of_a_run_is_left_out():
    done = [Job("a", 100, 100.0), Job("b", 500, 620.0), Job("c", 10, 115.0), Job("d", 50, 90_000.0)]
    moved, left_out = without_pauses(sorted(done, key=lambda job: job.end - job.seconds))
    assert [(job.name, job.end) for job in moved] == [("a", 100), ("c", 115), ("b", 620), ("d", 670)]
    assert left_out == 90_000 - 50 - 620
    assert totals(moved)["wall_seconds"] == 670 and totals(moved)["paused_seconds"] == 0
    assert totals(done)["wall_seconds"] == 670 and totals(done)["paused_seconds"] == left_out
    waiting = [Job("a", 100, 100.0), Job("b", 100, 100.0 + PAUSE_S + 100)]
    assert without_pauses(waiting) == (waiting, 0), "jobs may wait for a cluster"

"""`led report`: the page of a finished run, and one page about several runs."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from led_pipeline.cli import app
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json


def run_mean(run, system):
    return read_json(Path(run.layout.measures(system, "dev")))["measures"]["MRR@10"]


def led_report(*arguments):
    answer = CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output.strip()


def test_the_page_of_a_run_is_written_again_and_nothing_else_changes(make_run):
    run = make_run(5)
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    assert led_report(run.folder) == run.layout.page
    after = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    assert {str(path) for path in after if before.get(path) != after[path]} == {run.layout.page}


def test_several_runs_are_on_one_page_with_the_means_over_runs(make_run, tmp_path):
    runs = [make_run(seed) for seed in (1, 2, 3)]
    page = tmp_path / "seeds.html"
    led_report(*(run.folder for run in runs), "--out", page)
    text = page.read_text(encoding="utf-8")
    section = text[text.index('<section id="several">') :].split("</section>")[0]
    assert all(f">{run.folder}<" in section for run in runs)
    answers = re.findall(r"MRR@10 of .*?led against .*?</i>(\w+)</span>", section)
    assert answers == ["bm25"], "the control of this recipe"
    (row,) = re.findall(rf">{re.escape(str(runs[1].folder))}</th>(.*?)</tr>", section, re.S)
    led, bm25 = (run_mean(runs[1], name) for name in ("led", "bm25"))
    assert re.findall(r"<td>([\d.]+)</td>", row) == [f"{led:.4f}", f"{bm25:.4f}"]


def test_two_runs_compare_the_systems_of_the_same_name(make_run, tmp_path):
    page = tmp_path / "two.html"
    led_report(make_run(1, "a").folder, make_run(2, "b").folder, "--out", page)
    text = page.read_text(encoding="utf-8")
    assert "led (a)" in text and "led (b)" in text


def test_a_folder_without_results_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="expected the results of a run"):
        led_report(tmp_path)

"""The cache of compiled loops: complete folders, several processes, folders that cannot be written."""

import os
import subprocess
import sys

import pytest

from led_pipeline.search import kernel

SEARCH = """
import numpy as np
from pathlib import Path
from led_pipeline.search.kernel import search_kernel
search_kernel()
print("compiled")
"""


def start(**environment: str) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", SEARCH], env=os.environ | environment, **pipes)


@pytest.mark.pipeline
def test_processes_that_compile_at_once_leave_one_complete_folder(tmp_path):
    running = [start(NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    assert [process.communicate()[0] for process in running] == ["compiled\n"] * 2
    (folder,) = (tmp_path / "led_pipeline").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert any(path.suffix == ".nbc" for path in before)
    assert start(NUMBA_CACHE_DIR=str(tmp_path)).communicate()[1] == ""
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.pipeline
def test_without_a_folder_to_write_the_loops_are_compiled_for_the_process_with_a_message(tmp_path):
    (tmp_path / "file").write_text("")
    output, log = start(NUMBA_CACHE_DIR=str(tmp_path / "file")).communicate()
    assert output == "compiled\n" and "name a folder in NUMBA_CACHE_DIR" in log


def test_the_cache_is_in_the_folder_that_the_user_names(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert kernel.cache_folder() == tmp_path / "led_pipeline"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert kernel.cache_folder() == tmp_path / "xdg" / "led_pipeline"

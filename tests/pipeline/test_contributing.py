"""The worked examples of CONTRIBUTING.md: their commands run as they are written, on a copy of the project."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = dict(
    re.findall(r"^### (.*?)\n.*?^```sh\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M | re.S)
)

pytestmark = pytest.mark.pipeline


def copy_of_project(folder: Path) -> None:
    """Copy the files that git tracks or would track."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)


def test_there_is_an_example_for_each_kind_of_change():
    kinds = {"loss", "family", "search engine", "measure", "dataset format", "stage to a recipe"}
    assert EXAMPLES.keys() == {f"Add a {kind}" for kind in kinds}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_commands_of_an_example_work(tmp_path, name):
    copy_of_project(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"GIT_DIR": str(tmp_path / "no.git"), "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    environment |= {"MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}  # most of it is about installed packages
    command = ["sh", "-e", "-x", "-c", EXAMPLES[name]]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3_000:] + run.stderr[-3_000:]

"""Atomic files: nothing half-written, and one sentence about a full disk, tried on a real disk of 1 MB."""

import subprocess
import sys

import numpy as np
import pytest

from led_pipeline.data.tables import write_arrow
from led_pipeline.files.atomic import atomic, size, tree_bytes
from led_pipeline.files.errors import InputError

WRITERS = {
    "text": "with atomic(path) as t: t.write_text('x' * 3_000_000)",
    "numpy": "with atomic(path) as t, t.open('wb') as f: np.save(f, big)",
    "parquet": "write_strings(path, [{'id': [big.tobytes().hex()]}], ['id'])",
    "arrow": "write_arrow(path, {'x': big})",
    "safetensors": "with atomic(path) as t: t.mkdir(); save_file({'x': big}, t / 'm.safetensors')",
}
PROGRAM = """
import sys, numpy as np
from pathlib import Path
from safetensors.numpy import save_file
from led_pipeline.data.tables import write_arrow, write_strings
from led_pipeline.files.atomic import atomic, naming_a_full_disk
from led_pipeline.jobs.command import run_main
path, big = Path(sys.argv[1], 'out'), np.random.default_rng(0).integers(0, 255, 3_000_000).astype(np.uint8)
def main():
    {body}
run_main(main)
"""


def on_a_small_disk(body, tmp_path):
    """Run a program on its own 1 MB disk, then list the files that it left there."""
    steps = f'mount -t tmpfs -o size=1m tmpfs "$2" && "{sys.executable}" -c "$1" "$2"; s=$?; ls -A "$2"; exit $s'
    command = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        steps,
        "sh",
        PROGRAM.format(body=body),
        str(tmp_path),
    ]
    try:
        probe = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
        if subprocess.run(probe, capture_output=True).returncode:
            pytest.skip("this machine lets nobody mount a disk")
    except FileNotFoundError:
        pytest.skip("this machine has no unshare")
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_error_and_leaves_no_file(writer, tmp_path):
    answer = on_a_small_disk(WRITERS[writer], tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert answer.stdout == "", "what was written is removed"
    assert answer.stderr.startswith(f"error: {tmp_path}/out: ") and answer.stderr.count("\n") == 1
    assert "needed and 1.0 MB were free" in answer.stderr and "make room on that disk" in answer.stderr


def test_a_full_disk_is_one_error_if_a_library_writes_in_place(tmp_path):
    answer = on_a_small_disk("with naming_a_full_disk(path): save_file({'x': big}, path)", tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.startswith(f"error: {tmp_path}/out: more than 1.0 MB are needed and 1.0 MB were free")
    assert answer.stderr.count("\n") == 1 and "make room on that disk" in answer.stderr


def test_a_limit_on_the_size_of_files_is_one_error_too(tmp_path):
    program = PROGRAM.format(body=WRITERS["text"])
    answer = subprocess.run(
        ["sh", "-c", f'ulimit -f 1000; {sys.executable} -c "$1" {tmp_path}', "sh", program],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 2 and "File too large; what was written is removed" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_starts_without_room_for_a_known_size(tmp_path):
    expected = pytest.raises(InputError, match=r"out: 1,000,000\.0 TB are needed and .* \(nothing was written\)")
    with expected, atomic(tmp_path / "out", needs=10**18):
        raise AssertionError("the block was entered")


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "out") as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_an_arrow_file_needs_about_as_many_bytes_as_its_arrays(tmp_path):
    write_arrow(tmp_path / "a", {"x": np.zeros(100_000, dtype=np.int32)})
    assert tree_bytes(tmp_path) == (tmp_path / "a").stat().st_size == pytest.approx(400_000, rel=0.01)


def test_sizes_are_formatted_in_the_largest_fitting_unit():
    assert [size(n) for n in (0, 999, 1.5e6, 2e9, 3.21e12)] == ["0 kB", "1 kB", "1.5 MB", "2.0 GB", "3.2 TB"]

"""Locks: held by a group until its last process ends, in a folder that nobody else can prepare."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import launch, locks

# Locks a file as the first of a group, or joins as the given member; says so, and holds the lock until a line of input.
HOLDER = """
import sys
from pathlib import Path
from led_pipeline.jobs import locks
path, member = Path(sys.argv[1]), int(sys.argv[2])
file = locks.join(path, member) if member else locks.wait_for(path, "somebody writes here", float(sys.argv[3]))
print("held", flush=True)
sys.stdin.readline()
"""


def holder(path: Path, member: int = 0, patience_s: float = 60) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLDER, str(path), str(member), str(patience_s)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes)


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def test_a_lock_is_free_once_the_last_process_of_its_group_has_ended(tmp_path):
    path = tmp_path / "lock"
    first = holder(path)
    assert first.stdout.readline() == "held\n"
    members = [holder(path, member) for member in (1, 2)]
    assert [each.stdout.readline() for each in members] == ["held\n"] * 2
    file = locks.open_lock(path)
    for process in (first, *members):
        assert not locks.take_for_group(file), "one of them lives"
        end(process)
    assert locks.take_for_group(file)


def test_a_second_process_waits_for_the_first_and_prints_that(tmp_path):
    first = holder(tmp_path / "lock")
    assert first.stdout.readline() == "held\n"
    second = holder(tmp_path / "lock")
    message = second.stderr.readline()
    assert message == f"{tmp_path}/lock: somebody writes here; waiting up to 60 s for it to end\n"
    end(first)
    assert second.stdout.readline() == "held\n"
    end(second)


def test_waiting_too_long_is_an_error(tmp_path, monkeypatch):
    first = holder(tmp_path / "lock")
    assert first.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=r"lock: somebody writes here for 0 s; end it or wait for it, then rerun"):
        locks.wait_for(tmp_path / "lock", "somebody writes here", 0)
    end(first)


def test_a_member_without_its_group_does_not_take_the_lock_of_another(tmp_path):
    other = holder(tmp_path / "lock")
    assert other.stdout.readline() == "held\n"
    file = locks.open_lock(tmp_path / "lock")
    assert locks.take(file, 5), "the group of the other one leaves its members' bytes"
    locks.fcntl.lockf(file, locks.fcntl.LOCK_UN)
    end(other)
    whole = locks.open_lock(tmp_path / "lock")
    assert locks.take(whole)
    late = holder(tmp_path / "lock", 1)
    assert "the process that took it for this one has ended" in late.communicate()[1]


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(locks.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    locks.wait_for(tmp_path / "lock", "somebody writes here", 0)
    assert "warning: " in capsys.readouterr().err


# --- other users of the machine


def test_a_link_in_place_of_a_device_s_lock_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "led-gpus"
    folder.mkdir(mode=0o700)
    (folder / "gpu-0.lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic link"):
        launch.lease(1, ["0"], folder)
    assert precious.read_text() == "mine"


def test_a_lock_file_is_never_emptied(tmp_path):
    folder = tmp_path / "led-gpus"
    folder.mkdir(mode=0o700)
    (folder / "gpu-0.lock").write_text("something")
    os.close(launch.lease(1, ["0"], folder)["0"])
    assert (folder / "gpu-0.lock").read_text() == "something"


def test_the_folder_of_the_locks_is_private_to_the_user(tmp_path, monkeypatch):
    folder = tmp_path / "led-gpus"
    os.close(locks.private_folder(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(InputError, match=r"with mode 777, expected .* and 700"):
        locks.private_folder(folder)
    folder.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(InputError, match=r"it belongs to user .*set TMPDIR to a folder of your own"):
        locks.private_folder(folder)


def test_a_link_to_a_folder_of_locks_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "led-gpus").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"led-gpus: a link"):
        locks.private_folder(tmp_path / "led-gpus")

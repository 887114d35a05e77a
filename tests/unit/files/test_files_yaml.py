"""YAML: unreadable files, duplicate keys and nested aliases are refused with the line."""

import os

import pytest

from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml, repeated_keys


def doubled(times: int) -> str:
    """Return YAML whose last value expands to 2^times values, in a few bytes per doubling."""
    return "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, times))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: [\n", r"a\.yaml:3: not valid YAML"),
        ("[" * 200 + "]" * 200, r"a\.yaml:1: .*nesting"),
        ("[" * 100_000, r"a\.yaml:1: .*nesting"),
        ("".join(" " * i + "-\n" for i in range(150)), r"a\.yaml:\d+: .*nesting"),
        (doubled(40), r"a\.yaml:1[67]: .*\(entries\)"),
        ("a: &a [*a]\n", r"a\.yaml:1: .*an alias that contains itself"),
        ("a: &a {b: *a}\n", r"a\.yaml:1: .*an alias that contains itself"),
        ("a: &a {b: 1}\nc: &c {<<: *c}\n", r"a\.yaml:2: .*an alias that contains itself"),
        ("x: 1\n? [1, 2]\n: 3\n", r"a\.yaml:2: a key that is a list or a mapping"),
        ("a: 1\nb: {c: 1, c: 2}\n", r"a\.yaml:2: b\.c: duplicate key, already in line 2"),
        ("a: 1\0\n", r"a\.yaml: not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", r"a\.yaml:1: .*could not determine a constructor"),
        ("a: !!int x\n", r"a\.yaml: .*expected values of their types"),
        ("a: !!timestamp x\n", r"a\.yaml: .*expected values of their types"),
        ("a: !!bool x\n", r"a\.yaml: .*expected values of their types"),
        ("a: 2024-13-45\n", r"a\.yaml: month must be in 1"),
        ("a: " + "1" * 5000 + "\n", r"a\.yaml: .*limit"),
        ("a: *b\n", r"a\.yaml:1: .*undefined alias"),
        ("a: 1\n---\nb: 2\n", r"a\.yaml:2: .*another document"),
    ],
)
def test_error_names_the_line_of_malformed_yaml(tmp_path, text, says):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_yaml(path)


def test_error_names_files_that_are_not_utf8_and_pipes(tmp_path):
    (tmp_path / "a.yaml").write_bytes("a: café".encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.yaml: byte 7, 0xe9, is not UTF-8"):
        read_yaml(tmp_path / "a.yaml")
    os.mkfifo(tmp_path / "b.yaml")
    for read in (read_yaml, repeated_keys):
        with pytest.raises(InputError, match=r"b\.yaml: a named pipe"):
            read(tmp_path / "b.yaml")


def test_finite_aliases_and_merges_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 2}\nc: [*a, *a]\n")
    value = {"x": 1, "y": [1, 2]}
    assert read_yaml(tmp_path / "a.yaml") == {"a": value, "b": {"x": 2, "y": [1, 2]}, "c": [value, value]}
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") is None

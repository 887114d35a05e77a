"""Reading: libraries' errors about a file become one sentence, and the user can set the limits."""

import gzip
import json
import os
import pickle
import re
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from led_pipeline import user_code
from led_pipeline.data.opened import matrix
from led_pipeline.data.tables import (
    Ragged,
    count_rows,
    read_arrow,
    read_column,
    read_ids,
    write_arrow,
    write_matrix,
    write_strings,
)
from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import Limits, limits
from led_pipeline.files.reading import NotJson, check_regular, parse_json, read_json, reading
from led_pipeline.report.log import read_train_log


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied"), "a.txt:7: Permission denied, expected text"),
        (gzip.BadGzipFile("Not a gzipped file"), "a.txt:7: Not a gzipped file, expected text"),
        (zlib.error("Error -3"), "a.txt:7: Error -3, expected text"),
        (pickle.UnpicklingError("bad\n  pickle"), "a.txt:7: bad pickle, expected text"),
        (pa.ArrowInvalid("x" * 300), "a.txt:7: " + "x" * 200 + " ..., expected text"),
        (struct.error("unpack"), "a.txt:7: unpack, expected text"),
        (yaml.YAMLError("odd"), "a.txt:7: odd, expected text"),
        (EOFError(), "a.txt:7: EOFError, expected text"),
        (MemoryError(), "a.txt:7: it does not fit into memory, expected text"),
        (RecursionError("maximum"), "a.txt:7: its values are nested too deeply, expected text"),
        (UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "bad"), "a.txt:7: byte 3, 0xff, is not UTF-8, expected text"),
    ],
)
def test_a_library_s_error_about_a_file_becomes_a_short_error(error, says):
    with pytest.raises(InputError) as caught, reading("a.txt", "text", 7):
        raise error
    assert str(caught.value) == says


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), AttributeError("x"), ValueError("x")])
def test_our_own_bug_is_not_blamed_on_the_file(error):
    with pytest.raises(type(error)), reading("a.txt"):
        raise error
    with pytest.raises(InputError), reading("a.txt", also=(type(error),)):
        raise error


def test_an_input_error_passes_unchanged():
    with pytest.raises(InputError, match=r"^as it is$"), reading("a.txt"):
        raise InputError("as it is")


def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name, kind in ((tmp_path / "pipe", "named pipe"), (tmp_path / "socket", "socket"), ("/dev/zero", "device")):
        with pytest.raises(InputError, match=f"{name}: a {kind}, expected a JSON file"):
            read_json(name)
    with pytest.raises(InputError, match="Is a directory"):
        check_regular(tmp_path)
    with pytest.raises(InputError, match="null byte"):
        check_regular("a\0b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1,\n "b" 2}', r"a\.json:2: not valid JSON at column 6"),
        ('{"x": {"a": 1, "b": 2, "a": 1}}', r"a\.json:1: the key 'a' comes twice in one object"),
        ("1" * 5000, r"an integer of more than 4,300 digits"),
        (
            "[" * 100_000 + "]" * 100_000,
            r"nested lists and objects, more than the 100 that LED_LIMITS allows \(nesting\)",
        ),
        ("[" * 101 + "]" * 101, r"\(nesting\)"),
        ('{"a":' * 101 + "1" + "}" * 101, r"\(nesting\)"),
    ],
)
def test_json_is_read_strictly(tmp_path, text, says):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=says):
        read_json(tmp_path / "a.json")


def test_many_lists_do_not_count_as_nested_ones():
    value = {str(i): [[i], {"a": i}] for i in range(1000)}
    assert parse_json(json.dumps(value)) == value
    deep = "[" * 100 + "]" * 100
    assert parse_json(deep) == json.loads(deep)


def test_limits_come_from_the_environment(set_limits):
    assert limits() == Limits()
    set_limits("nesting=2, grade=5000")
    assert limits() == Limits(nesting=2, grade=5000)
    with pytest.raises(NotJson, match="more than the 2 that LED_LIMITS allows"):
        parse_json("[[[]]]")
    for wrong in ("depth=3", "grade", "grade=-1", "grade=0", "grade=99999999", "nesting=1e3"):
        set_limits(wrong)
        with pytest.raises(InputError, match=f"LED_LIMITS: '{wrong}', expected"):
            limits()


def test_the_docs_list_every_limit_with_its_default():
    text = (Path(__file__).parents[3] / "docs" / "guides" / "own-data.md").read_text()
    table = text.partition("| limit | default |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", table, re.MULTILINE))
    assert {name: int(value.replace(",", "")) for name, value in rows.items()} == vars(Limits())


# --- damaged files of the pipeline itself


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def test_error_names_a_damaged_table(tmp_path):
    write_strings(tmp_path / "a.parquet", [{"id": ["p1", "p2"]}], ["id"])
    write_matrix(tmp_path / "a.npy", np.ones((30, 2), dtype=np.float32))
    write_arrow(tmp_path / "a.arrow", {"text": Ragged.from_rows([np.arange(3)], np.int32)})
    for path, read in (
        (tmp_path / "a.parquet", lambda path: read_column(path, "id")),
        (tmp_path / "a.parquet", count_rows),
        (tmp_path / "a.parquet", lambda path: list(read_ids(path))),
        (tmp_path / "a.arrow", read_arrow),
        (tmp_path / "a.npy", matrix),
        (tmp_path / "a.npy", lambda path: matrix(path, mapped=False)),
    ):
        with pytest.raises(InputError, match=rf"{path.name}: .*of this pipeline; remove it to have it made again"):
            read(cut(path))


@pytest.mark.parametrize("text", ["qid\tMRR@10\nq1\tx\n", "qid\tMRR@10\nq1\t1\t2\n", "qid\tMRR@10\nq\xff\t1\n"])
def test_error_names_damaged_measures(tmp_path, text):
    (tmp_path / "a.tsv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.tsv: .*measure the run again"):
        read_per_query(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '{"loss": 1}',
        '{"step": "x", "loss": 1}',
        '{"step": 1, "loss": "x"}',
        '{"step": 1, "loss": 1' + "0" * 400 + "}",
        '{"step": 1, "step": 2}',
    ],
)
def test_error_names_the_line_of_a_damaged_training_log(tmp_path, line):
    (tmp_path / "train.jsonl").write_text('{"step": 1, "loss": 0.5}\n' + line + "\n")
    with pytest.raises(InputError, match=r"train\.jsonl:2: .*train the stage again"):
        read_train_log(tmp_path / "train.jsonl")


def test_error_names_user_code_that_cannot_be_parsed(tmp_path):
    for content in (b"x = '\0'\n", b"# caf\xe9\n", b"x = " + b"(" * 10_000, b"x = [1,\n"):
        (tmp_path / "own.py").write_bytes(content)
        assert "own.py" in user_code.fault(f"{tmp_path / 'own.py'}:loss")

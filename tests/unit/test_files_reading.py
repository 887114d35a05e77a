"""One place turns what libraries raise about a file into a sentence, within limits that a user can set."""

import gzip
import json
import os
import pickle
import socket
import struct
import zlib

import pyarrow as pa
import pytest
import yaml

from led_pipeline.files import read_json
from led_pipeline.files_errors import InputError
from led_pipeline.files_limits import Limits, limits
from led_pipeline.files_reading import NotJson, check_regular, parse_json, reading


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
def test_what_a_library_raises_about_a_file_is_a_sentence(error, says):
    with pytest.raises(InputError) as caught, reading("a.txt", "text", 7):
        raise error
    assert str(caught.value) == says


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), AttributeError("x"), ValueError("x")])
def test_a_fault_of_our_own_is_not_put_down_to_the_file(error):
    with pytest.raises(type(error)), reading("a.txt"):
        raise error
    with pytest.raises(InputError), reading("a.txt", also=(type(error),)):
        raise error


def test_an_input_error_passes_as_it_is():
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
        ("[" * 100_000 + "]" * 100_000, r"inside one another, more than the 100 that LED_LIMITS allows \(nesting\)"),
        ("[" * 101 + "]" * 101, r"\(nesting\)"),
        ('{"a":' * 101 + "1" + "}" * 101, r"\(nesting\)"),
    ],
)
def test_json_is_read_strictly(tmp_path, text, says):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=says):
        read_json(tmp_path / "a.json")


def test_many_lists_are_not_deep_ones():
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

"""Files that no honest program writes: bombs, damage of single bits, pipes, archives with passwords."""

import gzip
import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from led_pipeline.data.formats import streams
from led_pipeline.data.formats.judgements import load_qrels, read_run
from led_pipeline.data.formats.lines import Problems, read_lines
from led_pipeline.data.formats.score_files import read_scores
from led_pipeline.data.formats.texts import read_corpus
from led_pipeline.files.errors import InputError

SCORES = {f"q{i}": {f"p{j}": i + j / 8 for j in range(12)} for i in range(6)}
LINE = '{"_id": "p1", "text": "one"}\n'


def lines(path: Path) -> list[str]:
    problems = Problems()
    rows = [line for _, line in read_lines(path, problems)]
    problems.check()
    return rows


def refused(path: Path, sentence: str, read=read_scores) -> None:
    """Check that a file is refused before more than a few megabytes are allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=sentence):
            list(read(path))
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def doubling(combine: bytes, times: int) -> bytes:
    """Return a pickle whose key is a value that contains the previous value twice, repeatedly."""
    steps = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + combine + b"q" + bytes([i + 1]) for i in range(times))
    return b"\x80\x02}" + b")q\0" + steps + b"K\x01s."


# --- pickles


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"]r\xff\xff\xff\x7f.", "place 2,147,483,647 of its memo"),
        (b"(lp999999999\n.", "place 999,999,999 of its memo"),
        (b"\x80\x04}\x94q\x50.", "place 80 of its memo"),
        (doubling(b"\x86", 30), "a tuple among its values"),
        (doubling(b"\x86R", 30), "a tuple|not callable"),
        (b"}2.", "the operation DUP"),
        (b"X\xff\xff\xff\x7f.", "a value of more than the 32,000,000 that LED_LIMITS allows"),
        (b"\x80\x04\x95" + b"\xff" * 7 + b"\x0f}.", "a frame of more than"),
        (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0f}.", "a value of more than"),
        (b"\x8b\xff\xff\xff\x7f.", "a value of more than"),
        (b"I" + b"1" * 5000 + b"\n.", "could not convert"),
        (pickle.dumps(SCORES) + b"x", "there is more after its end"),
        (pickle.dumps(SCORES) + pickle.dumps(SCORES), "there is more after its end"),
        (pickle.dumps(SCORES)[:-1], "damaged or cut off"),
        (b"", "damaged or cut off"),
        (b"\xff\xfe", "the operation"),
        (b"}(U\x01qK\x01u", "damaged or cut off"),
        (b"(lp0\n" * 10_000, "damaged or cut off"),
        (b"]" * 100_000 + b"a" * 99_999 + b".", "it holds a list"),
        (b"h\x05.", "Memo value not found"),
        (pickle.dumps({"q": {"p": 10**400}}), "expected a number that 32 bits can hold"),
        (pickle.dumps({10**20: {"p": 1}}), "expected an id"),
        (pickle.dumps({"q": {"p\0": 1}}), "expected an id"),
    ],
)
def test_a_pickle_takes_no_more_than_its_size_allows(tmp_path, content, sentence):
    (tmp_path / "a.pkl").write_bytes(content)
    refused(tmp_path / "a.pkl", sentence)


def test_no_flipped_bit_of_a_gzip_pickle_changes_a_score(tmp_path):
    packed = gzip.compress(pickle.dumps(SCORES), mtime=0)
    read = [(query, list(scores), list(scores.values())) for query, scores in SCORES.items()]
    path, refusals = tmp_path / "a.pkl.gz", 0
    for place in range(0, 8 * len(packed), 7):
        flipped = bytearray(packed)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert list(read_scores(path)) == read  # gzip does not check the file name, the date and the system
        except InputError:
            refusals += 1
    assert refusals > 0.9 * 8 * len(packed) / 7


@pytest.mark.parametrize("name", ["a.pkl.gz", "a.json.gz", "a.jsonl.gz"])
def test_bytes_after_a_gzip_stream_or_missing_from_it_are_damage(tmp_path, name):
    content = {"a.pkl.gz": pickle.dumps(SCORES), "a.json.gz": b'{"q": {"p": 1}}'}.get(name, b"")
    content = content or b'{"query": "q", "docs": ["p"], "scores": [1]}\n'
    packed = gzip.compress(content)
    for damaged in (packed + b"garbage", packed[:-1], packed[:-8] + bytes(8), packed[:-4] + bytes(4), b""):
        (tmp_path / name).write_bytes(damaged)
        refused(tmp_path / name, r"damaged or cut off|an empty file")
    (tmp_path / name).write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
    assert len(list(read_scores(tmp_path / name))) >= 1


# --- size


def test_a_line_without_end_is_refused_before_it_is_held(tmp_path, set_limits):
    set_limits("line=100000")
    with gzip.open(tmp_path / "a.tsv.gz", "wb") as file:
        file.write(b"1\tone\n")
        for _ in range(100):
            file.write(b"x" * 1_000_000)
    refused(tmp_path / "a.tsv.gz", r"a\.tsv\.gz:2: a line of more than the 100,000 that LED_LIMITS allows", lines)
    (tmp_path / "b.tsv").write_bytes(b"1\t" + b"x" * 99_998 + b"\r\n2\ttwo\n")
    assert len(lines(tmp_path / "b.tsv")) == 2


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_small_file_that_grows_without_bound_is_refused(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(streams, "FREE_EXPANSION", 2_000_000)
    path = tmp_path / f"a.tsv.{ending}"
    with gzip.open(path, "wb") if ending == "gz" else pa.output_stream(str(path), compression="zstd") as file:
        for _ in range(40):
            file.write((b"x" * 9_999 + b"\n") * 50)
    refused(path, r"bytes become .* a factor of more than the 250 that LED_LIMITS allows \(expansion\)", lines)


def test_a_billion_equal_rows_in_a_small_parquet_file_are_refused(tmp_path):
    rows = 1_000_000
    columns = {"query": ["q"] * rows, "passage": ["p"] * rows, "score": [1.0] * rows}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    del columns
    refused(tmp_path / "a.parquet", "a passage of query 'q' comes twice")


# --- not a file


@pytest.mark.parametrize(
    "name", ["a.tsv", "a.tsv.gz", "a.tsv.zst", "a.json", "a.jsonl", "a.pkl", "a.pkl.gz", "a.parquet", "a.trec"]
)
def test_a_pipe_is_an_error_and_not_read(tmp_path, name):
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, f"{name}: a named pipe, expected")


def test_error_names_a_pipe_in_place_of_an_archive(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(InputError, match=r"a\.zip: a named pipe"):
        lines(tmp_path / "a.zip" / "corpus.jsonl")
    assert not streams.is_there(tmp_path / "a.zip" / "corpus.jsonl")


def archive(folder: Path, name: str, content: bytes, change: dict[int, int] | None = None) -> Path:
    """Write a zip of one member; `change` sets bytes in both of its headers, by offset in the central directory's."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    data = bytearray(buffer.getvalue())
    for place, value in (change or {}).items():
        data[data.find(b"PK\x01\x02") + place] = data[place - 2] = value
    (folder / "a.zip").write_bytes(data)
    return folder / "a.zip" / name


@pytest.mark.parametrize(
    ("change", "sentence"), [({8: 1}, "is encrypted, password required"), ({10: 99}, "compression method is not")]
)
def test_an_archive_with_a_password_or_an_unknown_method_is_refused(tmp_path, change, sentence):
    path = archive(tmp_path, "corpus.jsonl", LINE.encode(), change)
    with pytest.raises(InputError, match=rf"{sentence}.*expected a complete archive without a password"):
        lines(path)


def test_a_zstd_member_is_decompressed(tmp_path):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(LINE.encode())
    packed = sink.getvalue().to_pybytes()
    problems = Problems()
    path = archive(tmp_path, "corpus.jsonl.zst", packed)
    assert list(read_corpus(path, problems)) == [(1, "p1", "", "one")]
    for damaged in (packed[:-2], packed + b"x", b""):
        with pytest.raises(InputError, match=r"damaged or cut off|an empty file"):
            lines(archive(tmp_path, "corpus.jsonl.zst", damaged))


# --- values that C libraries truncate, or allocate memory by


@pytest.mark.parametrize(
    ("grade", "says"),
    [
        ("1001", "grade '1001' is more than the 1,000 that LED_LIMITS allows"),
        ("-1001", "more than the 1,000"),
        ("4294967296", "more than the 1,000"),
        ("9" * 5000, "more than the 1,000"),
        ("1.0", "expected a whole number"),
        ("nan", "expected a whole number"),
        ("+1", "expected a whole number"),
        ("1_0", "expected a whole number"),
        ("--1", "expected a whole number"),
        ("\u0661", "expected a whole number"),
    ],
)
def test_a_grade_is_a_small_whole_number(tmp_path, grade, says):
    (tmp_path / "a.qrels").write_text(f"q1 0 p1 {grade}\n")
    refused(tmp_path / "a.qrels", rf"a\.qrels:1: .*{says}", load_qrels)


def test_grades_up_to_the_limit_on_both_sides_of_zero_are_read(tmp_path, set_limits):
    (tmp_path / "a.qrels").write_text(f"q1 0 p1 1000\nq1 0 p2 -1000\nq1 0 p3 007\nq1 0 p4 -0\nq1 0 p5 {'0' * 5000}2\n")
    assert load_qrels(tmp_path / "a.qrels") == {"q1": {"p1": 1000, "p2": -1000, "p3": 7, "p4": 0, "p5": 2}}
    set_limits("grade=2000")
    (tmp_path / "a.qrels").write_text("q1 0 p1 2000\n")
    assert load_qrels(tmp_path / "a.qrels") == {"q1": {"p1": 2000}}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("q1 Q0 p\0a 1 1.0 x", "there is 'p.x00a', expected an id"),
        ("qq\0 Q0 p 1 1.0 x", "expected an id"),
        ("q1 Q0 " + "p" * 1001 + " 1 1.0 x", "of 1,001 characters, more than the 1,000"),
        ("q1 Q0 p 1 1e39 x", "that 32 bits can hold"),
        ("q1 Q0 p 1 3.4028236e38 x", "that 32 bits can hold"),
        ("q1 Q0 p 1 nan x", "the score is nan"),
        ("q1 Q0 p 1 1_0 x", "score '1_0', expected a number"),
    ],
)
def test_a_run_that_trec_eval_would_read_differently_is_refused(tmp_path, line, says):
    (tmp_path / "a.trec").write_text(line + "\n")
    refused(tmp_path / "a.trec", rf"a\.trec:1: .*{says}", read_run)


def table(score: pa.Array, names: tuple[str, ...] = ("query", "passage", "score")) -> pa.Table:
    return pa.Table.from_arrays([pa.array(["q"]), pa.array(["p"]), score], names=list(names))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table(pa.array(["1.5"])), "scores of the type string, expected floats or integers"),
        (table(pa.array([b"1"])), "scores of the type binary"),
        (table(pa.array([1]).cast(pa.decimal128(30, 2))), "scores of the type decimal128"),
        (table(pa.array([True])), "scores of the type bool"),
        (table(pa.array([[1.0]])), "scores of the type list"),
        (table(pa.array([1e39])), "that 32 bits can hold"),
        (table(pa.array([float("nan")])), "the score is nan"),
        (table(pa.array([1.0]), ("query", "score", "score")), "no column passage|2 columns score"),
        (table(pa.array([1.0])).append_column("score", pa.array([2.0])), "2 columns score, expected the columns"),
    ],
)
def test_parquet_holds_one_column_of_numbers(tmp_path, content, says):
    pq.write_table(content, tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", says)


def test_integers_as_scores_in_parquet_are_numbers(tmp_path):
    pq.write_table(table(pa.array([2**53 + 1])), tmp_path / "a.parquet")
    assert list(read_scores(tmp_path / "a.parquet")) == [("q", ["p"], [float(2**53)])]


def test_an_id_that_no_file_can_hold_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"q": {"p\\ud83d": 1}}')
    refused(tmp_path / "a.json", "expected an id")

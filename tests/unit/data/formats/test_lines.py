import gzip
import zlib
from pathlib import Path

import pytest

from led_pipeline.data.formats.lines import MALFORMED, Problems, is_id, read_lines
from led_pipeline.files.errors import InputError


def lines_of(path: Path, skip: tuple[str, ...] = ()) -> list[tuple[int, str]]:
    problems = Problems(skip)
    lines = list(read_lines(path, problems))
    problems.check()
    return lines


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content", [b"1\ta\n2\tb\n", b"1\ta\r\n2\tb\r\n", b"\xef\xbb\xbf1\ta\n2\tb", b"1\ta\n2\tb\n\r\n\n"]
)
def test_line_ends_byte_order_mark_and_trailing_blank_lines_are_removed(tmp_path, content):
    assert lines_of(write(tmp_path / "c.tsv", content)) == [(1, "1\ta"), (2, "2\tb")]


def test_only_line_feeds_end_a_line(tmp_path):
    text = "1\ta\u2028b\u0085c\x0bd\x1ce\rf"  # all but the line feed that str.splitlines would split at
    assert lines_of(write(tmp_path / "c.tsv", f"{text}\n2\tb\n".encode())) == [(1, text), (2, "2\tb")]


def test_a_gzip_file_reads_like_a_plain_one_even_in_two_members(tmp_path):
    content = gzip.compress(b"1\ta\n") + gzip.compress("2\té\n".encode())
    assert lines_of(write(tmp_path / "c.tsv.gz", content)) == [(1, "1\ta"), (2, "2\té")]


def test_a_gzip_file_that_is_cut_off_is_an_error_that_names_the_line(tmp_path):
    content = b"".join(b"%d\ttext %d\n" % (i, i * 7919) for i in range(1, 20_001))
    cut = gzip.compress(content)[:30_000]
    whole_lines = zlib.decompressobj(wbits=31).decompress(cut).count(b"\n")
    assert 1 < whole_lines < 20_000
    message = rf"c\.tsv\.gz:{whole_lines + 1}: the gzip stream is damaged or cut off.*download"
    with pytest.raises(InputError, match=message):
        lines_of(write(tmp_path / "c.tsv.gz", cut))


@pytest.mark.parametrize(
    "content",
    [b"1\ta\n", gzip.compress(b"1\ta\n", mtime=0)[:-4], gzip.compress(b"1\ta\n", mtime=0)[:-8] + bytes(8)],
    ids=["plain", "cut", "checksum"],  # the same in every process, which xdist needs
)
def test_a_gzip_file_without_magic_bytes_or_the_right_checksum_is_an_error(tmp_path, content):
    with pytest.raises(InputError, match=r"c\.gz:\d: the gzip stream is damaged"):
        lines_of(write(tmp_path / "c.gz", content))


@pytest.mark.parametrize("name", ["none.tsv", "none.tsv.gz", "."])
def test_error_names_a_file_that_cannot_be_opened(tmp_path, name):
    with pytest.raises(InputError, match=r"(No such file|Is a directory).*check the file names"):
        lines_of(tmp_path / name)


def test_a_blank_line_before_the_end_is_malformed(tmp_path):
    with pytest.raises(
        InputError, match=r"c\.tsv:2: a blank line, expected .*correct the file \(besides this line: 1 more"
    ):
        lines_of(write(tmp_path / "c.tsv", b"1\ta\n\n\n2\tb\n"))


def test_error_gives_position_of_invalid_utf8_and_the_key_that_skips_it(tmp_path):
    path = write(tmp_path / "c.tsv", b"1\ta\n2\tcaf\xe9\n3\tc\n")
    with pytest.raises(InputError, match=r"c\.tsv:2: byte 6 .* 0xe9, is not UTF-8.*dataset\.skip: \[bad_utf8\]"):
        lines_of(path)
    problems = Problems(["bad_utf8"])
    assert list(read_lines(path, problems)) == [(1, "1\ta"), (3, "3\tc")]
    assert problems.skipped == {str(path): {"bad_utf8": 1}}
    problems.check()


def test_an_error_names_the_first_problem_and_counts_the_others():
    problems = Problems(["bad_utf8"])
    problems.add("bad_utf8", "a.tsv", 1, "skipped")
    problems.add("empty_text", "a.tsv", 4, "no text, expected some")
    for line in range(5, 1005):
        problems.add("empty_text", "a.tsv", line, "no text")
    problems.add(MALFORMED, "b.tsv", 1, "1 column")
    with pytest.raises(InputError) as caught:
        problems.check()
    assert str(caught.value) == (
        "a.tsv:4: no text, expected some; correct the file, or set dataset.skip: [bad_utf8, empty_text] to leave such"
        " lines out and count them (besides this line: 1,000 more empty_text, 1 malformed)"
    )


def test_an_error_mentions_other_problems_and_a_skip_key_only_if_there_are_any():
    problems = Problems()
    problems.add(MALFORMED, "b.tsv", 1, "1 column, expected 2")
    with pytest.raises(InputError) as caught:
        problems.check()
    assert str(caught.value) == "b.tsv:1: 1 column, expected 2; correct the file"


@pytest.mark.parametrize("kind", ["malformed", "empty"])
def test_only_listed_defects_can_be_skipped(kind):
    with pytest.raises(ValueError, match=kind):
        Problems([kind])


@pytest.mark.parametrize(("value", "expected"), [("a-1", True), ("", False), (" a", False), ("a b", False), (7, False)])
def test_an_id_is_a_string_without_white_space(value, expected):
    assert is_id(value) is expected

import gzip
import zipfile

import pyarrow as pa
import pytest

from led_pipeline.data.formats.lines import Problems, read_lines
from led_pipeline.data.formats.streams import on_disk, open_bytes
from led_pipeline.files.errors import InputError

TEXT = "".join(f"{i}\ttext {i * i}\n" for i in range(50_000))


def lines(path) -> list[str]:
    problems = Problems()
    lines = [line for _, line in read_lines(path, problems)]
    problems.check()
    return lines


def write_zst(path, text: str = TEXT):
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(text.encode())
    return path


def write_zip(path, **members: str):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arguana/", "")
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_jsonl", ".jsonl"), text)
    return path


def test_a_zstd_file_is_read_as_its_text(tmp_path):
    assert lines(write_zst(tmp_path / "a.tsv.zst")) == TEXT.splitlines()


def test_a_zstd_file_that_is_cut_off_is_refused(tmp_path):
    path = write_zst(tmp_path / "a.tsv.zst")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"a\.tsv\.zst:\d+: the zstd stream is damaged or cut off"):
        lines(path)


def test_a_file_that_is_not_zstd_is_refused(tmp_path):
    (tmp_path / "a.zst").write_text("plain text\n")
    with pytest.raises(InputError, match="zstd stream is damaged"):
        lines(tmp_path / "a.zst")


@pytest.mark.parametrize("name", ["arguana__corpus_jsonl", "corpus_jsonl"])
def test_a_member_is_read_through_its_archive(tmp_path, name):
    path = write_zip(tmp_path / "arguana.zip", **{name: TEXT, "arguana__queries_jsonl": "q\n"})
    assert lines(path / "corpus.jsonl") == TEXT.splitlines()
    assert on_disk(path / "corpus.jsonl") == path


def test_a_gzip_member_is_decompressed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/queries.tsv.gz", gzip.compress(b"1\tone\n"))
    assert lines(tmp_path / "a.zip" / "queries.tsv.gz") == ["1\tone"]


def test_error_lists_the_members_of_an_archive(tmp_path):
    path = write_zip(tmp_path / "a.zip", arguana__corpus_jsonl="x\n")
    with pytest.raises(InputError, match=r"a\.zip: no member 'qrels/dev\.tsv'.*there are arguana/corpus\.jsonl"):
        open_bytes(path / "qrels" / "dev.tsv")


def test_a_file_that_is_not_an_archive_is_refused(tmp_path):
    (tmp_path / "a.zip").write_text("text")
    with pytest.raises(InputError, match=r"a\.zip/corpus\.jsonl: File is not a zip file, expected a complete archive"):
        open_bytes(tmp_path / "a.zip" / "corpus.jsonl")


def test_a_damaged_member_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", corpus_jsonl=TEXT)
    content = bytearray(path.read_bytes())
    content[5_000:5_040] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"corpus\.jsonl:\d+: the zip stream is damaged"):
        lines(path / "corpus.jsonl")


def test_a_folder_may_be_named_like_an_archive(tmp_path):
    (tmp_path / "a.zip").mkdir()
    (tmp_path / "a.zip" / "corpus.jsonl").write_text("x\n")
    assert lines(tmp_path / "a.zip" / "corpus.jsonl") == ["x"]

"""Contents: files are compared by content, not by date, and are read again only if they may have changed."""

import hashlib
import os
import zipfile

import pytest

from led_pipeline.data import contents as module
from led_pipeline.data.contents import Contents
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json


@pytest.fixture
def reads(monkeypatch):
    """Record the paths whose bytes are read."""
    paths, real = [], module._digest
    monkeypatch.setattr(module, "_digest", lambda path: (paths.append(str(path)), real(path))[1])
    return paths


@pytest.fixture
def settled(monkeypatch):
    """Make the files of this test old enough for their dates to be trusted."""
    monkeypatch.setattr(module, "SETTLED_NS", -1)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_read_once_and_remembered_in_the_next_run(tmp_path, reads, settled):
    path, notes = tmp_path / "collection.tsv", tmp_path / "provenance" / "contents.json"
    path.write_text("1\ttext\n")
    for _ in range(3):
        assert Contents(notes).file(path) == sha("1\ttext\n")
    assert reads == [str(path)]


def test_a_replaced_file_is_noticed_despite_an_equal_or_older_date(tmp_path, reads, settled):
    path, notes = tmp_path / "collection.tsv", tmp_path / "contents.json"
    path.write_text("old")
    times = path.stat()
    assert Contents(notes).file(path) == sha("old")
    path.write_text("new")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Contents(notes).file(path) == sha("new"), "written in place, and dated back"
    other = tmp_path / "other"
    other.write_text("two")
    os.utime(other, (0, 0))
    other.replace(path)
    assert Contents(notes).file(path) == sha("two"), "replaced by an older file"


def test_another_date_alone_changes_nothing(tmp_path):
    path = tmp_path / "collection.tsv"
    path.write_text("text")
    before = Contents(tmp_path / "contents.json").file(path)
    os.utime(path, (10**9, 2 * 10**9))
    assert Contents(tmp_path / "contents.json").file(path) == before


def test_a_file_that_has_just_changed_is_read_again_next_time(tmp_path, reads):
    """Within one tick of the clock a second change would leave the same dates."""
    path, notes = tmp_path / "collection.tsv", tmp_path / "contents.json"
    path.write_text("text")
    contents = Contents(notes)
    contents.file(path), contents.file(path)
    assert len(reads) == 1, "once in a process"
    Contents(notes).file(path)
    assert len(reads) == 2


def test_a_deleted_file_keeps_its_digest_and_an_unknown_one_is_an_error(tmp_path):
    path, notes = tmp_path / "own.py", tmp_path / "contents.json"
    path.write_text("def f(): ...")
    before = Contents(notes).file(path)
    path.unlink()
    assert Contents(notes).file(path) == before
    with pytest.raises(InputError, match=r"never\.tsv: no such file"):
        Contents(notes).file(tmp_path / "never.tsv")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(InputError, match="no regular file"):
            Contents(tmp_path / "contents.json").file(path)


def test_an_archive_member_has_its_own_digest(tmp_path, settled):
    path, notes = tmp_path / "beir.zip", tmp_path / "contents.json"

    def write(**members):
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in members.items():
                archive.writestr(f"beir/{name}.jsonl", text)

    write(corpus="passages", queries="one")
    first = [Contents(notes).file(path / f"{name}.jsonl") for name in ("corpus", "queries")]
    assert first == [sha("passages"), sha("one")]
    write(corpus="passages", queries="two")
    assert [Contents(notes).file(path / f"{name}.jsonl") for name in ("corpus", "queries")] == [first[0], sha("two")]
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"beir\.zip"):
        Contents(notes).file(path / "corpus.jsonl")


def test_a_folder_changes_with_any_file_by_name_or_content_and_not_with_a_hidden_one(tmp_path, settled):
    folder, notes = tmp_path / "模型 {x}", tmp_path / "contents.json"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "1_Pooling/config.json", os.fsdecode(b"\xff.txt")):
        (folder / name).write_text(name.encode("utf-8", "replace").decode())
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    whole, words = (lambda: Contents(notes).folder(folder)), (lambda: Contents(notes).folder(folder, ["model*"]))
    before = whole(), words()
    assert before[0] != before[1]
    (folder / ".cache").mkdir()
    (folder / ".cache" / "note").touch()
    os.utime(folder / "config.json", (0, 0))
    assert (whole(), words()) == before
    (folder / "model.safetensors").write_text("others")
    assert whole() != before[0] and words() == before[1], "a tokenizer does not depend on weights"
    weights = whole()
    (folder / "1_Pooling" / "config.json").rename(folder / "1_Pooling" / "config.old")
    assert len({before[0], weights, whole()}) == 3


def test_a_deleted_folder_keeps_its_digest(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    contents = Contents(tmp_path / "contents.json")
    before = contents.folder(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "moved")
    assert Contents(tmp_path / "contents.json").folder(tmp_path / "model") == before
    assert contents.folder(tmp_path / "moved") == before
    assert contents.folder(tmp_path / "nowhere") not in ("", before), "another one, once it is there"


def test_the_same_contents_are_noted_in_the_same_order(tmp_path, settled):
    for name in "ba":
        (tmp_path / name).write_text(name)
    for order in ("ab", "ba"):
        for name in order:
            Contents(tmp_path / f"{order}.json").file(tmp_path / name)
    assert list(read_json(tmp_path / "ab.json")) == list(read_json(tmp_path / "ba.json"))

"""Downloads from a server that fails in every possible way, and by a process that is killed halfway."""

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from file_server import Answer, FileServer, serving

from led_pipeline.fetch import download, transfer
from led_pipeline.fetch.download import Places, obtain
from led_pipeline.fetch.sources import Source
from led_pipeline.fetch.transfer import NoRoom, Patience
from led_pipeline.files.errors import InputError

BODY = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(62_500))  # 2 MB without a pattern
OTHER = b"".join(hashlib.sha256(b"other %d" % i).digest() for i in range(62_500))
CUT = len(BODY) * 6 // 10


@pytest.fixture
def server():
    with serving() as server:
        server.content["/f"] = BODY
        yield server


@pytest.fixture
def places(tmp_path) -> Places:
    return Places(tmp_path / "archives", tmp_path / "checksums", patience=Patience(attempts=3, backoff_s=0, stall_s=5))


def entry(*urls: str, body: bytes = BODY, **changes) -> Source:
    published = {"bytes": len(body), "md5": hashlib.md5(body).hexdigest(), "verified": True}
    return Source(**{"name": "f", "url": list(urls), "licence": "none", **published, **changes})


@dataclass
class Usage:
    free: int


UNVERIFIED = {"bytes": None, "md5": None, "verified": False}


def left(folder: Path) -> list[str]:
    """Return the files under a folder, without locks."""
    paths = folder.rglob("*")
    return sorted(str(path.relative_to(folder)) for path in paths if path.is_file() and path.suffix != ".lock")


def got(server: FileServer) -> list[tuple[str | None, int]]:
    return [(request.range, request.sent) for request in server.requests]


# --- a connection that breaks


def test_a_connection_that_breaks_is_continued_where_it_broke(server, places, tmp_path, capsys):
    server.answers["/f"] = [Answer(stop_after=CUT)]
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert got(server) == [(None, CUT), (f"bytes={CUT}-", len(BODY) - CUT)]
    assert server.requests[1].headers["If-Range"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert left(tmp_path) == ["f"]
    log = capsys.readouterr().err
    assert f"f: continuing after {CUT / 1e6:.1f} MB" in log and "f: 2.0 of 2.0 MB (100 %)" in log


def test_every_break_that_brings_something_allows_further_attempts(server, places, tmp_path):
    """Three attempts in a row without progress would end the download."""
    server.answers["/f"] = [Answer(stop_after=100_000) for _ in range(15)]
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert sum(request.sent for request in server.requests) == len(BODY)


def test_a_server_that_ignores_ranges_sends_all_again(server, places, tmp_path, capsys):
    server.knows_ranges = False
    server.answers["/f"] = [Answer(stop_after=CUT)]
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert [request.sent for request in server.requests] == [CUT, len(BODY)]
    assert "sends the whole file again" in capsys.readouterr().err


def test_a_server_that_always_breaks_at_the_same_place_is_given_up(server, places, tmp_path):
    server.knows_ranges = False
    server.answers["/f"] = [Answer(stop_after=CUT) for _ in range(9)]
    with pytest.raises(InputError, match=r"gave up after 3 attempt\(s\) without progress.*IncompleteRead"):
        obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert len(server.requests) == 3


def test_the_received_part_is_continued_after_the_server_was_given_up(server, places, tmp_path):
    server.answers["/f"] = [Answer(stop_after=CUT), *[Answer(503)] * 3]
    with pytest.raises(InputError, match="HTTP 503"):
        obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert left(tmp_path) == ["archives/f.part", "archives/f.part.json"]
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert got(server)[-1] == (f"bytes={CUT}-", len(BODY) - CUT)


def test_a_body_without_a_length_that_ends_early_is_noticed_and_fetched(server, places, tmp_path):
    server.sends_length = False
    server.answers["/f"] = [Answer(stop_after=CUT)]
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_silent_server_is_an_interruption_not_a_wait(server, places, tmp_path, capsys):
    server.answers["/f"] = [Answer(stop_after=CUT, then=server.stall)]
    obtain(entry(server.url("/f")), replace(places, patience=Patience(backoff_s=0, stall_s=0.2)), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert got(server)[-1] == (f"bytes={CUT}-", len(BODY) - CUT)
    assert "the server was silent for 0.2 s" in capsys.readouterr().err


def test_a_trickle_is_an_interruption_too(server, places, tmp_path, monkeypatch):
    """Every read is within its time limit, and yet the download would take for ever."""
    clock = iter(range(0, 10**6, 3))
    monkeypatch.setattr(transfer, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(transfer, "CHUNK", 100)
    with pytest.raises(InputError, match=r"without progress, the last one: only [0-9,]+ bytes in 5 s"):
        obtain(entry(server.url("/f")), replace(places, patience=replace(places.patience, attempts=1)), tmp_path / "f")


# --- answers that are no file


def test_busy_servers_get_another_request_when_they_say(server, places, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(transfer, "sleep", slept.append)
    server.answers["/f"] = [Answer(503, {"Retry-After": "7"}), Answer(429, {"Retry-After": "120"}), Answer(500)]
    patience = Patience(attempts=4, backoff_s=1)
    obtain(entry(server.url("/f")), replace(places, patience=patience), tmp_path / "f")
    assert slept == [7, 120, 4]  # the third failure in a row: twice doubled
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_server_that_demands_hours_of_waiting_is_skipped_for_the_mirror(server, places, tmp_path, capsys):
    server.content["/mirror"] = BODY
    server.answers["/f"] = [Answer(503, {"Retry-After": "7200"})]
    obtain(entry(server.url("/f"), server.url("/mirror")), places, tmp_path / "f")
    assert server.requested_paths == ["/f", "/mirror"]
    assert "asks to wait 7200 s, more than the limit of 600 s" in capsys.readouterr().err


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_the_mirror_is_next(server, places, tmp_path, status):
    server.content["/mirror"] = BODY
    server.answers["/f"] = [Answer(status)]
    obtain(entry(server.url("/f"), server.url("/mirror")), places, tmp_path / "f")
    assert server.requested_paths == ["/f", "/mirror"]


def test_a_page_in_place_of_the_file_is_refused_before_it_is_read(server, places, tmp_path):
    server.content["/f"] = b"<html>Sign in to this network</html>"
    with pytest.raises(InputError, match=r"/f: expected 2,000,000 bytes, got 36"):
        obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert left(tmp_path) == []


def test_a_page_is_never_recorded_as_the_first_download(server, places, tmp_path):
    server.content["/f.gz"] = b"<html>Sign in to this network</html>"
    with pytest.raises(InputError, match=r"expected a gzip file, got one that starts with b'<html>Sign in"):
        obtain(entry(server.url("/f.gz"), **UNVERIFIED), places, tmp_path / "f")
    assert left(tmp_path) == []


def test_a_mirror_continues_a_part_of_the_first_url(server, places, tmp_path):
    """This is safe only because the final checksum shows whether both served the same file."""
    server.content["/mirror"] = BODY
    server.answers["/f"] = [Answer(stop_after=CUT), Answer(404)]
    obtain(entry(server.url("/f"), server.url("/mirror")), places, tmp_path / "f")
    assert got(server)[-1] == (f"bytes={CUT}-", len(BODY) - CUT)
    assert (tmp_path / "f").read_bytes() == BODY


def test_without_a_checksum_a_mirror_starts_over(server, places, tmp_path):
    server.content["/mirror"] = OTHER
    server.answers["/f"] = [Answer(stop_after=CUT), Answer(404)]
    obtain(entry(server.url("/f"), server.url("/mirror"), **UNVERIFIED), places, tmp_path / "f")
    assert got(server)[-1] == (None, len(OTHER))
    assert (tmp_path / "f").read_bytes() == OTHER


# --- the wrong bytes


def test_a_corrupted_file_is_refused_and_removed(server, places, tmp_path):
    server.content["/f"] = BODY[:-1] + b"?"
    with pytest.raises(InputError) as error:
        obtain(entry(server.url("/f")), places, tmp_path / "f")
    expected, actual = hashlib.md5(BODY).hexdigest(), hashlib.md5(server.content["/f"]).hexdigest()
    assert f"{server.url('/f')}: expected MD5 {expected}, got {actual}" in str(error.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize("knows_if_range", [True, False])
@pytest.mark.parametrize("checksums", [{}, UNVERIFIED])
def test_a_file_that_changes_midway_is_never_spliced(server, places, tmp_path, knows_if_range, checksums):
    server.knows_if_range = knows_if_range
    server.content["/f"] = OTHER
    server.answers["/f"] = [Answer(stop_after=CUT, then=lambda: server.content.update({"/f": BODY}))]
    obtain(entry(server.url("/f"), **checksums), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def test_without_tag_date_or_checksum_nothing_is_continued(server, places, tmp_path):
    server.sends_tags = False
    server.answers["/f"] = [Answer(stop_after=CUT)]
    obtain(entry(server.url("/f"), **UNVERIFIED), places, tmp_path / "f")
    assert got(server) == [(None, CUT), (None, len(BODY))]


def test_a_splice_that_only_the_checksum_reveals_is_downloaded_again(server, places, tmp_path, capsys):
    server.sends_tags = False
    server.content["/f"] = OTHER
    server.answers["/f"] = [Answer(stop_after=CUT, then=lambda: server.content.update({"/f": BODY}))]
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert "so it is downloaded again" in capsys.readouterr().err


def test_a_file_that_became_shorter_is_fetched_again(server, places, tmp_path):
    server.answers["/f"] = [Answer(stop_after=CUT, then=lambda: server.content.update({"/f": BODY[:1000]}))]
    server.knows_if_range = False
    obtain(entry(server.url("/f"), **UNVERIFIED), places, tmp_path / "f")
    assert [request.status for request in server.requests] == [200, 416, 200]
    assert (tmp_path / "f").read_bytes() == BODY[:1000]


# --- the first download of a file without a published checksum


def test_the_first_download_is_recorded_and_another_file_refused(server, places, tmp_path, capsys):
    source, record = entry(server.url("/f"), **UNVERIFIED), tmp_path / "checksums" / "f.json"
    obtain(source, places, tmp_path / "f")
    sha256 = hashlib.sha256(BODY).hexdigest()
    noted = json.loads(record.read_text())
    assert {key: noted[key] for key in ("file", "url", "bytes", "sha256")} == {
        "file": "f",
        "url": server.url("/f"),
        "bytes": len(BODY),
        "sha256": sha256,
    }
    assert f"recorded {len(BODY):,} bytes with SHA-256 {sha256} in {record}" in capsys.readouterr().out

    server.content["/f"] = OTHER  # of the same size
    with pytest.raises(InputError) as error:
        obtain(source, places, tmp_path / "again")
    assert f"expected SHA-256 {sha256} as recorded on {noted['recorded']} in {record}, got" in str(error.value)
    assert f"delete {record} and rerun" in str(error.value)
    assert not (tmp_path / "again").exists()

    record.unlink()
    obtain(source, places, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == OTHER
    assert json.loads(record.read_text())["sha256"] == hashlib.sha256(OTHER).hexdigest()


# --- the disk


def test_a_too_small_disk_is_an_error_before_the_first_byte(server, places, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage(10**6))
    with pytest.raises(NoRoom) as error:
        obtain(entry(server.url("/f"), member="x", unpacked_bytes=7_000_000), places, tmp_path / "out" / "x")
    archives, out = places.archives, tmp_path / "out"
    assert f"needs 9.0 MB of disk (2.0 MB in {archives}, 7.0 MB in {out}), 1.0 MB are free" in str(error.value)
    assert server.requests == []


def test_if_only_the_server_knows_the_size_room_is_checked_before_the_body(server, places, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage(10**6))
    with pytest.raises(NoRoom, match=r"needs 10\.0 MB of disk \(2\.0 MB"):  # four times its size when unpacked
        obtain(entry(server.url("/f"), member="x", **UNVERIFIED), places, tmp_path / "x")
    assert left(tmp_path) == ["archives/f.part.json"]


def test_only_the_missing_part_has_to_fit_on_the_disk(server, places, tmp_path, monkeypatch):
    server.answers["/f"] = [Answer(stop_after=CUT), Answer(404)]
    with pytest.raises(InputError):
        obtain(entry(server.url("/f")), places, tmp_path / "f")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage(len(BODY) - CUT))
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_disk_that_fills_up_keeps_the_part_and_tries_no_mirror(server, places, tmp_path, monkeypatch):
    written = []

    def full(file, chunk):
        if sum(written) + len(chunk) > CUT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(file.raw_write(chunk))

    class Disk:
        def __init__(self, file):
            self.name, self.raw_write = file.name, file.write

        def write(self, chunk):
            full(self, chunk)
            return len(chunk)

    whole = transfer._write
    monkeypatch.setattr(transfer, "_write", lambda file, chunk: whole(Disk(file), chunk))
    with pytest.raises(NoRoom, match=r"f\.part: No space left on device after .* MB; free some space and rerun"):
        obtain(entry(server.url("/f"), server.url("/mirror")), places, tmp_path / "f")
    assert server.requested_paths == ["/f"]
    monkeypatch.setattr(transfer, "_write", whole)
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert got(server)[-1] == (f"bytes={sum(written)}-", len(BODY) - sum(written))


# --- a process that is killed


@pytest.mark.parametrize("verified", [True, False])
def test_a_killed_process_is_continued_by_the_next_one_which_fetches_only_the_rest(server, tmp_path, verified):
    server.content["/all.tar.gz"] = BODY
    server.answers["/all.tar.gz"] = [Answer(stop_after=CUT, then=server.stall)]
    source = entry(server.url("/all.tar.gz"), **({} if verified else {**UNVERIFIED, "headers": {"X-Test": "yes"}}))
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"files": [source.model_dump()]}))
    if not verified:
        server.content["/all.tar.gz"] = b"\x1f\x8b" + BODY[2:]
    body = server.content["/all.tar.gz"]
    command = [sys.executable, "-m", "led_pipeline.fetch.download", "--name", "f"]
    for option, name in {"sources": "sources.yaml", "archives": "archives", "records": "records", "out": "out"}.items():
        command += [f"--{option}", str(tmp_path / name)]
    part = tmp_path / "archives" / "all.tar.gz.part"
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size == CUT):
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert part.read_bytes() == body[:CUT] and not (tmp_path / "out").exists()

    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "out").read_bytes() == body
    assert got(server) == [(None, CUT), (f"bytes={CUT}-", len(body) - CUT)]
    assert verified or server.requests[1].headers["X-Test"] == "yes"
    assert [name for name in left(tmp_path) if "part" in name] == []


def test_after_a_kill_behind_the_last_byte_nothing_is_requested(server, places, tmp_path):
    places.archives.mkdir()
    (places.archives / "f.part").write_bytes(BODY)
    note = {"url": server.url("/f"), "total": len(BODY), "etag": None, "modified": None}
    (places.archives / "f.part.json").write_text(json.dumps(note))
    obtain(entry(server.url("/f")), places, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert server.requests == []


def test_the_leftovers_of_a_killed_unpacking_process_are_removed(server, places, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("x")
        info.size = len(BODY)
        tar.addfile(info, io.BytesIO(BODY))
    server.content["/a.tar.gz"] = buffer.getvalue()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / ".f.0123abcd.part").write_bytes(BODY[:CUT])
    obtain(entry(server.url("/a.tar.gz"), body=buffer.getvalue(), member="x"), places, tmp_path / "source" / "f")
    assert left(tmp_path / "source") == ["f"]

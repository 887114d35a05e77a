"""Downloads, against an HTTP server on this machine."""

import hashlib
import io
import json
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from led_pipeline.data import download
from led_pipeline.data.download import Source, extract, obtain, read_source
from led_pipeline.files import InputError

SHIPPED = Path(__file__).parents[2] / "config" / "sources.yaml"
QRELS = b"1185869\t0\t0\t1\n1185868\t0\t16\t1\n"


class Server(ThreadingHTTPServer):
    """Serves `content` by path, 404 for anything else, and keeps the paths that were asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.delay_s = 0.0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, *_):
        """A client that gave up is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        time.sleep(self.server.delay_s)
        body = self.server.content.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def entry(body: bytes, *urls: str, **changes) -> Source:
    known = {"bytes": len(body), "md5": hashlib.md5(body).hexdigest(), "verified": True}
    return Source(**{"name": "qrels.tsv", "url": list(urls), "licence": "none", **known, **changes})


def tar_gz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(f"./data/{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def test_a_file_with_the_right_checksum_is_published(server, tmp_path):
    server.content["/q.tsv"] = QRELS
    obtain(entry(QRELS, server.url("/q.tsv")), tmp_path / "archives", tmp_path / "source" / "qrels.tsv")
    assert (tmp_path / "source" / "qrels.tsv").read_bytes() == QRELS
    assert visible(tmp_path) == ["qrels.tsv"]


def test_members_of_one_archive_cost_one_download(server, tmp_path):
    archive = tar_gz(one=b"first", two=b"second")
    server.content["/all.tar.gz"] = archive
    for member, body in {"data/one": b"first", "data/two": b"second"}.items():
        out = tmp_path / "source" / member
        obtain(entry(archive, server.url("/all.tar.gz"), member=member), tmp_path / "archives", out)
        assert out.read_bytes() == body
    assert server.asked == ["/all.tar.gz"]
    assert (tmp_path / "archives" / "all.tar.gz").read_bytes() == archive


def test_jobs_that_want_one_archive_at_the_same_time_wait_for_one_download(server, tmp_path):
    archive = tar_gz(one=b"first", two=b"second")
    server.content["/all.tar.gz"] = archive
    server.delay_s = 0.2
    source = entry(archive, server.url("/all.tar.gz"))

    def job(name: str) -> bytes:
        obtain(source.model_copy(update={"member": f"data/{name}"}), tmp_path / "archives", tmp_path / name)
        return (tmp_path / name).read_bytes()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(job, ["one", "two"])) == [b"first", b"second"]
    assert server.asked == ["/all.tar.gz"]


@pytest.mark.parametrize(
    ("changes", "expected", "got"),
    [
        ({"md5": "0" * 32}, "MD5 " + "0" * 32, hashlib.md5(QRELS).hexdigest()),
        ({"bytes": 1_234_567}, "1,234,567 bytes", f"got {len(QRELS)}"),
    ],
)
def test_a_wrong_file_leaves_nothing_behind(server, tmp_path, changes, expected, got):
    server.content["/q.tsv"] = QRELS
    url = server.url("/q.tsv")
    with pytest.raises(InputError) as error:
        obtain(entry(QRELS, url, **changes), tmp_path / "archives", tmp_path / "qrels.tsv")
    for part in (url, expected, got, str(tmp_path / "archives" / "q.tsv")):
        assert part in str(error.value)
    assert visible(tmp_path) == []


def test_404_names_the_url_and_where_to_put_the_file(server, tmp_path):
    url = server.url("/gone.tar.gz")
    with pytest.raises(InputError) as error:
        obtain(entry(b"-", url, member="data/one"), tmp_path / "archives", tmp_path / "one")
    assert f"{url}: expected HTTP 200, got 404" in str(error.value)
    assert f"put the file at {tmp_path / 'archives' / 'gone.tar.gz'} yourself" in str(error.value)
    assert visible(tmp_path) == []


def test_a_silent_server_is_an_error_not_a_wait(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_S", (0.5, 0.1))
    server.delay_s = 0.5
    with pytest.raises(InputError, match="ReadTimeout"):
        obtain(entry(QRELS, server.url("/q.tsv")), tmp_path / "archives", tmp_path / "qrels.tsv")
    assert visible(tmp_path) == []


def test_a_server_that_is_not_there_is_an_error(server, tmp_path):
    url = server.url("/q.tsv").replace(f":{server.server_port}", ":1")
    with pytest.raises(InputError, match="ConnectionError"):
        obtain(entry(QRELS, url), tmp_path / "archives", tmp_path / "qrels.tsv")


def test_a_mirror_serves_what_the_first_url_does_not(server, tmp_path, capsys):
    server.content |= {"/broken/q.tsv": b"an error page", "/mirror/5d41": QRELS}
    urls = [server.url(path) for path in ("/gone/q.tsv", "/broken/q.tsv", "/mirror/5d41")]
    obtain(entry(QRELS, *urls), tmp_path / "archives", tmp_path / "qrels.tsv")
    assert (tmp_path / "qrels.tsv").read_bytes() == QRELS
    told = capsys.readouterr().err
    assert f"{urls[0]}: expected HTTP 200, got 404" in told
    assert f"{urls[1]}: expected {len(QRELS)} bytes, got 13" in told


def test_the_sha256_of_an_unverified_file_is_noted_beside_it(server, tmp_path, capsys):
    archive = tar_gz(titles=b"0\tThe Manhattan Project\n")
    server.content["/titles.tar.gz"] = archive
    source = entry(archive, server.url("/titles.tar.gz"), member="data/titles", bytes=None, md5=None, verified=False)
    obtain(source, tmp_path / "archives", tmp_path / "titles.tsv")
    sha256 = hashlib.sha256(archive).hexdigest()
    note = json.loads((tmp_path / "archives" / "titles.tar.gz.seen.json").read_text())
    assert note == {"url": source.url[0], "bytes": len(archive), "sha256": sha256}
    assert (
        f"no published checksum to compare with; got {len(archive):,} bytes with SHA-256 {sha256}"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("member", [None, "data/one"])
def test_a_file_put_there_by_hand_is_used_without_the_network(server, tmp_path, member):
    body = tar_gz(one=b"first") if member else QRELS
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "by-hand").write_bytes(body)
    obtain(entry(body, server.url("/by-hand"), member=member), tmp_path / "archives", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (b"first" if member else QRELS)
    assert server.asked == []


def test_a_wrong_file_put_there_by_hand_is_named_and_kept(server, tmp_path):
    (tmp_path / "q.tsv").write_bytes(b"half of it")
    with pytest.raises(InputError, match=r"q\.tsv: expected 29 bytes, got 10; delete it"):
        obtain(entry(QRELS, server.url("/q.tsv")), tmp_path, tmp_path / "out")
    assert (tmp_path / "q.tsv").read_bytes() == b"half of it"
    assert visible(tmp_path) == ["q.tsv"]


def test_a_missing_member_is_named_with_what_the_archive_holds(tmp_path):
    (tmp_path / "all.tar.gz").write_bytes(tar_gz(one=b"first", two=b"second"))
    with pytest.raises(InputError, match=r"expected a file 'data/three' inside, found \./data/one, \./data/two"):
        extract(tmp_path / "all.tar.gz", "data/three", tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 60, -30])
def test_a_damaged_archive_is_an_error_and_leaves_nothing_behind(tmp_path, keep):
    archive = tar_gz(one=bytes(range(256)) * 400)
    (tmp_path / "all.tar.gz").write_bytes(archive[:keep])
    with pytest.raises(InputError, match=r"all\.tar\.gz: expected a tar\.gz archive"):
        extract(tmp_path / "all.tar.gz", "data/one", tmp_path / "out")
    assert visible(tmp_path) == ["all.tar.gz"]


def test_the_shipped_list_knows_checksums_of_all_but_the_titles():
    names = [source["name"] for source in yaml.safe_load(SHIPPED.read_text())["files"]]
    assert len(names) == len(set(names))
    assert [name for name in names if not read_source(SHIPPED, name).verified] == ["titles.tsv"]


def test_a_misspelt_name_is_an_error_with_the_nearest_one():
    with pytest.raises(InputError, match=r"no entry named 'collections\.tsv' \(did you mean collection\.tsv\?\)"):
        read_source(SHIPPED, "collections.tsv")


def test_a_verified_entry_without_checksum_is_an_error(tmp_path):
    sources = tmp_path / "sources.yaml"
    fields = {
        "name": "a",
        "url": ["http://127.0.0.1/a"],
        "bytes": None,
        "md5": None,
        "verified": True,
        "licence": "none",
    }
    sources.write_text(yaml.safe_dump({"files": [fields]}))
    with pytest.raises(InputError, match=r"sources\.yaml: files\[0\].*a verified file needs bytes and md5"):
        read_source(sources, "a")

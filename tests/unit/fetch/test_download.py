"""Downloads that succeed: archives, mirrors, files put there by hand; failures are in tests/faults."""

import hashlib
import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from configs import RECIPES
from file_server import Answer, serving

from led_pipeline.fetch.download import Places, extract, obtain
from led_pipeline.fetch.progress import Progress, duration
from led_pipeline.fetch.sources import Source, read_source
from led_pipeline.fetch.transfer import Patience
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.load import load_recipe

SHIPPED = Path(__file__).parents[3] / "config" / "sources.yaml"
QRELS = b"1185869\t0\t0\t1\n1185868\t0\t16\t1\n"


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def places(tmp_path) -> Places:
    return Places(tmp_path / "archives", tmp_path / "checksums", patience=Patience(attempts=1))


def entry(body: bytes, *urls: str, **changes) -> Source:
    checksums = {"bytes": len(body), "md5": hashlib.md5(body).hexdigest(), "verified": True}
    return Source(**{"name": "qrels.tsv", "url": list(urls), "licence": "none", **checksums, **changes})


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


def test_a_file_with_the_right_checksum_is_published(server, places, tmp_path):
    server.content["/q.tsv"] = QRELS
    obtain(entry(QRELS, server.url("/q.tsv")), places, tmp_path / "source" / "qrels.tsv")
    assert (tmp_path / "source" / "qrels.tsv").read_bytes() == QRELS
    assert visible(tmp_path) == ["qrels.tsv"]


def test_members_of_one_archive_cost_one_download(server, places, tmp_path):
    archive = tar_gz(one=b"first", two=b"second")
    server.content["/all.tar.gz"] = archive
    for member, body in {"data/one": b"first", "data/two": b"second"}.items():
        out = tmp_path / "source" / member
        obtain(entry(archive, server.url("/all.tar.gz"), member=member), places, out)
        assert out.read_bytes() == body
    assert server.requested_paths == ["/all.tar.gz"]
    assert (tmp_path / "archives" / "all.tar.gz").read_bytes() == archive


def test_jobs_that_need_one_archive_at_the_same_time_wait_for_one_download(server, places, tmp_path):
    archive = tar_gz(one=b"first", two=b"second")
    server.content["/all.tar.gz"] = archive
    server.answers["/all.tar.gz"] = [Answer(first=lambda: time.sleep(0.2))]
    source = entry(archive, server.url("/all.tar.gz"))

    def job(name: str) -> bytes:
        obtain(source.model_copy(update={"member": f"data/{name}"}), places, tmp_path / name)
        return (tmp_path / name).read_bytes()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(job, ["one", "two"])) == [b"first", b"second"]
    assert server.requested_paths == ["/all.tar.gz"]


@pytest.mark.parametrize(
    ("changes", "expected", "got"),
    [
        ({"md5": "0" * 32}, "MD5 " + "0" * 32, hashlib.md5(QRELS).hexdigest()),
        ({"bytes": 1_234_567}, "1,234,567 bytes", f"got {len(QRELS)}"),
    ],
)
def test_a_wrong_file_leaves_nothing_behind(server, places, tmp_path, changes, expected, got):
    server.content["/q.tsv"] = QRELS
    url = server.url("/q.tsv")
    with pytest.raises(InputError) as error:
        obtain(entry(QRELS, url, **changes), places, tmp_path / "qrels.tsv")
    for part in (url, expected, got, str(tmp_path / "archives" / "q.tsv")):
        assert part in str(error.value)
    assert visible(tmp_path) == []


def test_404_names_the_url_and_where_to_put_the_file(server, places, tmp_path):
    url = server.url("/gone.tar.gz")
    with pytest.raises(InputError) as error:
        obtain(entry(b"-", url, member="data/one"), places, tmp_path / "one")
    assert f"{url}: expected HTTP 200, got 404" in str(error.value)
    assert f"put the file at {tmp_path / 'archives' / 'gone.tar.gz'} yourself" in str(error.value)
    assert visible(tmp_path) == []


def test_an_unreachable_server_is_an_error(server, places, tmp_path):
    url = server.url("/q.tsv").replace(f":{server.server_port}", ":1")
    with pytest.raises(InputError, match=r"gave up after 1 attempt\(s\).*ConnectionError: .*Connection refused"):
        obtain(entry(QRELS, url), places, tmp_path / "qrels.tsv")


def test_a_mirror_serves_a_file_that_the_first_url_does_not(server, places, tmp_path, capsys):
    server.content |= {"/broken/q.tsv": b"an error page", "/mirror/5d41": QRELS}
    urls = [server.url(path) for path in ("/gone/q.tsv", "/broken/q.tsv", "/mirror/5d41")]
    obtain(entry(QRELS, *urls), places, tmp_path / "qrels.tsv")
    assert (tmp_path / "qrels.tsv").read_bytes() == QRELS
    log = capsys.readouterr().err
    assert f"{urls[0]}: expected HTTP 200, got 404" in log
    assert f"{urls[1]}: expected {len(QRELS)} bytes, got 13" in log


def test_an_archive_without_a_checksum_is_recorded_only_after_it_is_unpacked(server, places, tmp_path):
    server.content["/titles.tar.gz"] = tar_gz(titles=b"0\tThe Manhattan Project\n")
    source = entry(b"-", server.url("/titles.tar.gz"), member="data/title", bytes=None, md5=None, verified=False)
    with pytest.raises(InputError, match=r"expected a file 'data/title' inside, found \./data/titles"):
        obtain(source, places, tmp_path / "titles.tsv")
    assert not places.records.exists()
    obtain(source.model_copy(update={"member": "data/titles"}), places, tmp_path / "titles.tsv")
    assert visible(places.records) == ["titles.tar.gz.json"]


@pytest.mark.parametrize("end", ["", "/"])
def test_the_user_s_mirror_is_tried_first(server, places, tmp_path, end):
    server.content["/msmarco/q.tsv"] = QRELS
    mirrored = replace(places, mirror=server.url("/msmarco") + end)
    obtain(entry(QRELS, server.url("/published/q.tsv")), mirrored, tmp_path / "qrels.tsv")
    assert (tmp_path / "qrels.tsv").read_bytes() == QRELS
    assert server.requested_paths == ["/msmarco/q.tsv"]


def test_a_folder_can_be_the_mirror_and_missing_files_come_from_the_publisher(server, places, tmp_path, capsys):
    folder = tmp_path / "a folder"
    folder.mkdir()
    server.content["/q.tsv"] = QRELS
    mirrored = replace(places, mirror=folder.as_uri())
    obtain(entry(QRELS, server.url("/q.tsv")), mirrored, tmp_path / "first")
    assert f"{folder.as_uri()}/q.tsv: no such file" in capsys.readouterr().err
    (folder / "q.tsv").write_bytes(QRELS)
    obtain(entry(QRELS, server.url("/q.tsv")), mirrored, tmp_path / "second")
    assert (tmp_path / "second").read_bytes() == QRELS and (folder / "q.tsv").exists()
    assert server.requested_paths == ["/q.tsv"]


def test_a_wrong_file_in_a_mirror_is_refused(server, places, tmp_path):
    (tmp_path / "q.tsv").write_bytes(b"?" * len(QRELS))
    with pytest.raises(InputError, match=r"file:///.*/q\.tsv: expected MD5 "):
        obtain(entry(QRELS, (tmp_path / "q.tsv").as_uri()), places, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mirror_that_is_no_url_is_an_error_that_names_the_variable(places, tmp_path):
    with pytest.raises(InputError, match=r"LED_MIRROR: '/data/msmarco' is not a URL, expected .*file:/data/msmarco"):
        obtain(entry(QRELS, "https://localhost/q.tsv"), replace(places, mirror="/data/msmarco"), tmp_path / "out")


@pytest.mark.parametrize("url", ["ftp://localhost/q.tsv", "localhost/q.tsv", "https://"])
def test_error_names_an_invalid_url_without_another_attempt(places, tmp_path, url):
    with pytest.raises(InputError, match=f"\n  {url}: (Invalid|Missing)"):
        obtain(entry(QRELS, url), replace(places, patience=Patience()), tmp_path / "out")


def test_the_headers_of_an_entry_are_sent(server, places, tmp_path):
    server.content["/q.tsv"] = QRELS
    obtain(entry(QRELS, server.url("/q.tsv"), headers={"X-Ms-Version": "2019-12-12"}), places, tmp_path / "qrels.tsv")
    sent = server.requests[0].headers
    assert sent["X-Ms-Version"] == "2019-12-12" and sent["Accept-Encoding"] == "identity"


def test_a_sha256_is_checked_too(server, places, tmp_path):
    server.content["/q.tsv"] = QRELS
    checksums = {"md5": None, "bytes": None}
    right, wrong = hashlib.sha256(QRELS).hexdigest(), "0" * 64
    obtain(entry(QRELS, server.url("/q.tsv"), sha256=right, **checksums), places, tmp_path / "qrels.tsv")
    with pytest.raises(InputError, match=f"expected SHA-256 {wrong}, got {right}"):
        obtain(entry(QRELS, server.url("/q.tsv"), sha256=wrong, **checksums), places, tmp_path / "qrels.tsv")


def test_progress_shows_the_bytes_the_rate_and_the_time_left():
    progress = Progress("f", start=400_000_000, total=1_000_000_000)
    progress.add(100_000_000)
    assert progress.line(elapsed_s=50) == "500.0 of 1,000.0 MB (50 %), 2.0 MB/s, 4 min 10 s left"  # 500 MB at 2 MB/s
    progress.add(500_000_000)
    assert progress.line(elapsed_s=60) == "1,000.0 of 1,000.0 MB (100 %), 10.0 MB/s"
    unknown = Progress("f", start=0, total=None)
    unknown.add(3_000_000)
    assert unknown.line(elapsed_s=2) == "3.0 MB, 1.5 MB/s"
    assert [duration(s) for s in (0.4, 59.7, 3600, 7620)] == ["0 s", "1 min 00 s", "1 h 00 min", "2 h 07 min"]


@pytest.mark.parametrize("member", [None, "data/one"])
def test_a_file_placed_by_hand_is_used_without_the_network(server, places, tmp_path, member):
    body = tar_gz(one=b"first") if member else QRELS
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "by-hand").write_bytes(body)
    obtain(entry(body, server.url("/by-hand"), member=member), places, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (b"first" if member else QRELS)
    assert server.requested_paths == []


def test_a_wrong_file_placed_by_hand_is_an_error_and_kept(server, places, tmp_path):
    places.archives.mkdir()
    (places.archives / "q.tsv").write_bytes(b"half of it")
    with pytest.raises(InputError, match=r"q\.tsv: expected 29 bytes, got 10; delete it"):
        obtain(entry(QRELS, server.url("/q.tsv")), places, tmp_path / "out")
    assert (places.archives / "q.tsv").read_bytes() == b"half of it"
    assert visible(tmp_path) == ["q.tsv"]


def test_error_lists_the_archives_members_if_one_is_missing(tmp_path):
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


def test_the_shipped_list_knows_checksums_of_all_but_rocketqas_titles_and_a_file_of_scores():
    names = [source["name"] for source in yaml.safe_load(SHIPPED.read_text())["files"]]
    assert len(names) == len(set(names))
    scores = "cross-encoder-ms-marco-MiniLM-L-6-v2-scores.pkl.gz"
    assert [name for name in names if not read_source(SHIPPED, name).verified] == ["titles.tsv", scores]


def test_the_shipped_list_requests_a_version_of_ms_marco_s_host_that_supports_ranges():
    files = [read_source(SHIPPED, source["name"]) for source in yaml.safe_load(SHIPPED.read_text())["files"]]
    azure = [source for source in files if "windows.net" in source.url[0]]
    assert azure and all(source.headers == {"X-Ms-Version": "2019-12-12"} for source in azure)


def test_the_shipped_list_has_every_file_that_the_recipe_of_the_paper_downloads():
    dataset = load_recipe(RECIPES["config.yaml"]).dataset
    files = [*dataset.collection_files, dataset.titles, *dataset.negatives.values()]
    files += [name for split in dataset.splits for name in (*dataset.queries_of(split), *dataset.qrels_of(split))]
    assert [read_source(SHIPPED, name).name for name in files] == files


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
    with pytest.raises(InputError, match=r"sources\.yaml: files\[0\].*verified must be true if md5 or sha256 is given"):
        read_source(sources, "a")


def test_two_urls_with_the_same_file_name_are_an_error(tmp_path):
    entries = [entry(QRELS, f"http://localhost/{n}/q.tsv", name=n).model_dump() for n in ("a", "b")]
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"files": entries}))
    with pytest.raises(InputError, match=r"two different URLs end with 'q\.tsv'"):
        read_source(tmp_path / "sources.yaml", "a")

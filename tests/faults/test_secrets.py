"""User names, passwords and tokens of URLs, and the headers of an entry, reach only the server they are meant for."""

import base64
import hashlib
from pathlib import Path

import pytest
from file_server import Answer, serving

from led_pipeline.fetch.addresses import Address
from led_pipeline.fetch.download import Places, obtain
from led_pipeline.fetch.sources import Source, read_source
from led_pipeline.fetch.transfer import Patience
from led_pipeline.files.errors import InputError

BODY = b"1185869\t0\t0\t1\n"
USER, PASSWORD, TOKEN, KEY = "somebody", "pa55word", "sig-t0ken", "k3y-of-the-publisher"
SECRETS = (USER, PASSWORD, TOKEN, KEY)


@pytest.fixture
def servers():
    with serving() as first, serving() as second:
        yield first, second


def entry(*urls: str, **changes) -> Source:
    return Source(**{"name": "q.tsv", "url": list(urls), "licence": "none", "bytes": None, "verified": False,
                     "headers": {"X-Key": KEY}, **changes})  # fmt: skip


def secret(url: str) -> str:
    return url.replace("://", f"://{USER}:{PASSWORD}@") + f"?token={TOKEN}"


def places(folder: Path, mirror: str | None = None) -> Places:
    return Places(folder / "archives", folder / "checksums", mirror, Patience(attempts=2, backoff_s=0.01))


def written(folder: Path) -> str:
    """Return the names and contents of all files under a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(f"{path} {path.read_bytes()!r}" for path in paths)


def assert_hidden(text: str) -> None:
    assert not [each for each in SECRETS if each in text], text


def test_a_mirror_gets_its_password_and_nobody_else_reads_it(servers, tmp_path, capsys):
    server, publisher = servers
    server.content[f"/files/q.tsv?token={TOKEN}"] = BODY
    source = entry(publisher.url("/q.tsv"))
    obtain(source, places(tmp_path, secret(server.url("/files"))), tmp_path / "source" / "q.tsv")
    sent = server.requests[0]
    assert sent.headers["Authorization"] == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert "X-Key" not in sent.headers, "it is for the publisher"
    assert (tmp_path / "source" / "q.tsv").read_bytes() == BODY
    output = capsys.readouterr()
    assert "/files/q.tsv" in written(tmp_path / "checksums")
    assert_hidden(written(tmp_path) + output.out + output.err)


@pytest.mark.parametrize(
    "answer",
    [Answer(status=404), Answer(status=503), Answer(stop_after=0), Answer(status=302, headers={"Location": "x:y"})],
)
def test_errors_of_mirrors_and_publishers_show_no_secret(servers, tmp_path, capsys, answer):
    server, publisher = servers
    path = f"/files/q.tsv?token={TOKEN}"
    server.content[path] = BODY
    server.answers[path] = [answer] * 9
    source = entry(secret(publisher.url("/q.tsv")), bytes=len(BODY), md5=hashlib.md5(BODY).hexdigest(), verified=True)
    with pytest.raises(InputError) as caught:
        obtain(source, places(tmp_path, secret(server.url("/files"))), tmp_path / "q.tsv")
    output = capsys.readouterr()
    assert f"{publisher.url('/q.tsv')}?..." in str(caught.value)
    assert_hidden(str(caught.value) + output.out + output.err + written(tmp_path))


def test_a_server_that_cannot_be_reached_shows_no_secret(tmp_path, capsys):
    with pytest.raises(InputError) as caught:
        obtain(entry(secret("http://127.0.0.1:9/q.tsv")), places(tmp_path), tmp_path / "q.tsv")
    assert_hidden(str(caught.value) + capsys.readouterr().err)


def test_the_headers_of_an_entry_go_to_its_first_host_only(servers, tmp_path):
    publisher, other = servers
    other.content["/q.tsv"] = BODY
    obtain(entry(publisher.url("/q.tsv"), other.url("/q.tsv")), places(tmp_path), tmp_path / "q.tsv")
    assert publisher.requests[0].headers["X-Key"] == KEY
    assert "X-Key" not in other.requests[0].headers


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_redirect_takes_headers_to_no_other_host(servers, tmp_path, elsewhere):
    publisher, other = servers
    target = other if elsewhere else publisher
    publisher.content["/q.tsv"] = target.content["/moved.tsv"] = BODY
    publisher.answers["/q.tsv"] = [Answer(status=302, headers={"Location": target.url("/moved.tsv")})]
    obtain(entry(secret(publisher.url("/q.tsv")).partition("?")[0]), places(tmp_path), tmp_path / "q.tsv")
    moved = next(request for request in target.requests if request.path == "/moved.tsv")
    assert ("X-Key" in moved.headers, "Authorization" in moved.headers) == (not elsewhere, not elsewhere)


@pytest.mark.parametrize(
    "change",
    [
        "bytes: many",
        "headers: {X-Key: [k3y-of-the-publisher]}",
        "headers: k3y-of-the-publisher",
        "verified: true",
        "url: {sig-t0ken: 1}",
        "url: [1, 'https://somebody:pa55word@host/?sig-t0ken']",
        "extra: 'k3y-of-the-publisher",
    ],
)
def test_error_names_a_wrong_entry_without_its_secrets(tmp_path, change):
    lines = {"url": "[https://somebody:pa55word@host/q.tsv]", "headers": "{X-Key: k3y-of-the-publisher}",
             "bytes": "null", "verified": "false", "licence": "none"}  # fmt: skip
    changed = {line.partition(":")[0].strip() for line in change.splitlines()}
    rest = "".join(f"    {key}: {value}\n" for key, value in lines.items() if key not in changed)
    (tmp_path / "sources.yaml").write_text(f"files:\n  - name: q.tsv\n{rest}    {change}\n")
    with pytest.raises(InputError, match=r"sources\.yaml") as caught:
        read_source(tmp_path / "sources.yaml", "q.tsv")
    assert_hidden(str(caught.value))


def test_a_mirror_that_is_not_a_url_is_not_shown():
    for mirror in ("somebody:pa55word@host/x", "https://somebody:pa55/word@host", "//host?sig-t0ken"):
        with pytest.raises(InputError, match="LED_MIRROR: its value is not a URL") as caught:
            entry("https://host/q.tsv").urls(mirror)
        assert_hidden(str(caught.value))


def test_an_address_is_printed_without_its_secrets():
    address = Address("https://somebody:pa55word@host:8443/a/b.gz?token=sig-t0ken#part")
    assert (str(address), repr(address)) == ("https://host:8443/a/b.gz?...", "Address()")
    assert address.beside("c.gz").url == "https://somebody:pa55word@host:8443/a/b.gz/c.gz?token=sig-t0ken#part"
    assert address.origin == ("https", "host", 8443) != Address("http://host:8443/").origin
    assert Address("https://host/x").origin == Address("https://somebody@host:443/y").origin
    text = "no answer of https://somebody:pa55word@host/a?token=sig-t0ken, url: /a/b.gz?token=sig-t0ken (pa55word)"
    assert_hidden(address.hide(text))
    assert address.hide("a plain reason?") == "a plain reason?"

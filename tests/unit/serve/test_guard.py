"""The guard and the server: host names, headers, addresses."""

import socket

import pytest
from starlette.testclient import TestClient

from led_pipeline.files.errors import InputError
from led_pipeline.serve.guard import Guard, host_name
from led_pipeline.serve.server import address, is_open, listen, names_of


async def page(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"secret"})


def ask(host, hosts=()):
    return TestClient(Guard(page, hosts)).get("/", headers={"host": host})


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9000", "localhost.", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7", "[fe80::1%25e]"],
)
def test_addresses_and_localhost_are_answered_under_any_port(host):
    assert ask(host).text == "secret"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "[evil]"]
)
def test_other_names_are_refused_before_the_app_sees_them(host):
    answer = ask(host)
    assert answer.status_code == 421 and "secret" not in answer.text


def test_an_allowed_name_is_answered():
    assert ask("node7:8000", ["Node7"]).text == "secret"
    assert "--allow-host node7" in ask("node7").text


def test_a_refusal_is_no_markup():
    answer = ask("<script>")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_answer_has_the_headers():
    for host in ("localhost", "evil.example"):
        policy = ask(host).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_host_names_are_read_without_port():
    assert [host_name(h) for h in ("a:1", "[::1]:1", "::1", "A.b.")] == ["a", "::1", "", "a.b"]


def test_a_port_in_use_is_an_error_with_advice():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port {port}: Address already in use; choose another port"):
            listen("127.0.0.1", port)


def test_a_host_that_is_not_this_machine_is_an_error():
    with pytest.raises(InputError, match="expected a name or an address of this machine"):
        listen("no such host", 0)


def test_port_zero_takes_a_free_one_and_the_address_names_it():
    with listen("127.0.0.1", 0) as listening:
        assert address("127.0.0.1", listening) == f"http://127.0.0.1:{listening.getsockname()[1]}/"
    with listen("0.0.0.0", 0) as listening:
        assert address("0.0.0.0", listening).startswith(f"http://{socket.gethostname()}:")


def test_only_an_open_server_answers_under_the_name_of_its_machine():
    assert names_of("127.0.0.1", False, ["X"]) == {"x"}
    assert names_of("0.0.0.0", True, []) == {socket.gethostname().lower(), socket.getfqdn().lower()}
    assert "node7" in names_of("Node7", True, [])
    for host, others in (("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)):
        with listen(host, 0) as listening:
            assert is_open(listening) == others

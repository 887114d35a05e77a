"""Server: run the web application of a results folder on this machine until Ctrl-C."""

import logging
import socket
import sys
import webbrowser
from collections.abc import Collection
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from threading import Thread, Timer

import uvicorn

from led_pipeline.files.errors import InputError
from led_pipeline.serve.answers import reason_of
from led_pipeline.serve.app import make_app
from led_pipeline.serve.guard import is_address
from led_pipeline.serve.site import Site
from led_pipeline.use.session import Session

LONGEST_ADDRESS = 2**22  # bytes of a request's head: even a pasted book gets our sentence
GRACE = 3  # seconds that running searches get after Ctrl-C


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0 takes a free one.

    Raises:
        InputError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host}: {error}, expected a name or an address of this machine") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()  # from here on a browser waits instead of being refused
    except OSError as error:
        listening.close()
        advice = "choose another port with --port, or --port 0 for any free one"
        raise InputError(f"--host {host} --port {port}: {error.strerror}; {advice}") from error
    return listening


def address(host: str, listening: socket.socket) -> str:
    """Return the address of the page as a browser needs it."""
    port = listening.getsockname()[1]
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def is_open(listening: socket.socket) -> bool:
    """Return whether other machines reach a socket."""
    return not ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def names_of(host: str, others: bool, allowed: Collection[str]) -> set[str]:
    """Return the host names under which the page answers, besides localhost.

    Args:
        others: whether other machines reach the page: they use the name of this one.
    """
    names = {host, *allowed} if others else set(allowed)
    names |= {socket.gethostname(), socket.getfqdn()} if others else set()
    return {name.lower() for name in names if not is_address(name)}


def serve(results: Path, host: str, port: int, open_browser: bool, threads: int, allowed: Collection[str] = ()) -> None:
    """Serve the page of a results folder until Ctrl-C.

    Raises:
        InputError: the address is in use, or the folder has no results.
    """
    logging.basicConfig(format="%(message)s")
    with closing(listen(host, port)) as listening, Session.open(results, threads=threads) as session:
        if is_open(listening):
            print(
                f"warning: --host {host} lets everybody who reaches this machine read the texts of this run; there"
                " is no password and no encryption. ssh -L is safer (docs/guides/page.md).",
                file=sys.stderr,
            )
        for name in session.unavailable:
            print(f"not available: {name}: {reason_of(session, name)}", file=sys.stderr)
        url = address(host, listening)
        print(f"Serving {results} at {url} (Ctrl-C ends it)", flush=True)
        if open_browser:
            opening = Timer(0.5, webbrowser.open, [url])
            opening.daemon = True
            opening.start()
        site = Site(session)
        Thread(target=site.answers.warm, args=[site.usual], daemon=True).start()
        config = uvicorn.Config(
            make_app(site, names_of(host, is_open(listening), allowed)),
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=LONGEST_ADDRESS,
            timeout_graceful_shutdown=GRACE,
        )
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:  # uvicorn raises it again after a clean end
            print()

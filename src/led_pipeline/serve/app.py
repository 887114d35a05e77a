"""App: the web application of one run, made of its pages, its static files and the guard around them."""

from collections.abc import Collection
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from led_pipeline.files.errors import InputError
from led_pipeline.serve.guard import Guard
from led_pipeline.serve.pages import Pages
from led_pipeline.serve.passages import PassagePages
from led_pipeline.serve.site import Site

STATIC = Path(__file__).with_name("static")


def make_app(site: Site, hosts: Collection[str] = ()) -> Guard:
    """Return the web application.

    Args:
        hosts: names of this machine under which the page answers, besides localhost and IP addresses.
    """
    pages, passages = Pages(site), PassagePages(site)
    app = Starlette(
        routes=[
            Route("/", pages.search),
            Route("/queries", pages.queries),
            Route("/help", pages.help),
            Route("/passage", passages.by_id),
            Route("/passages/{row}", passages.passage),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={InputError: pages.wrong_input, HTTPException: pages.http_error, Exception: pages.failure},
    )
    return Guard(app, hosts)  # outside of everything, so that answers about errors have its headers, too

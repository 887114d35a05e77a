"""Templating: pages are sent piece by piece, a fast system's column while a slow one still searches."""

from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response, StreamingResponse

from led_pipeline.serve.view import DEPTHS, LONGEST_QUERY, MOST_SYSTEMS

FLUSH = Markup("<!--flush-->")  # {{ flush }} in a template sends what is ready


def significant(value: float) -> str:
    """Return a number with four significant digits; from 1,000 on, as a whole number."""
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3e}"
    return f"{value:#.4g}"


def duration(milliseconds: float) -> str:
    """Return a duration in milliseconds, or seconds from one on."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


class Templates:
    """The pages' templates; every value in them is escaped."""

    def __init__(self, **everywhere: Any) -> None:
        self._environment = Environment(
            loader=PackageLoader("led_pipeline.serve", "templates"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        self._environment.filters |= {"significant": significant, "duration": duration, "plural": plural}
        self._environment.globals |= {
            "flush": FLUSH,
            "depths": DEPTHS,
            "longest_query": LONGEST_QUERY,
            "most_systems": MOST_SYSTEMS,
            **everywhere,
        }

    def page(self, name: str, status: int = 200, **context: Any) -> Response:
        """Return a whole page."""
        return HTMLResponse(self._environment.get_template(name).render(context), status_code=status)

    def stream(self, name: str, **context: Any) -> Response:
        """Return a page that is sent while its iterators still compute."""
        return StreamingResponse(self._parts(name, context), media_type="text/html")

    def _parts(self, name: str, context: dict[str, Any]) -> Iterator[str]:
        ready: list[str] = []
        for part in self._environment.get_template(name).generate(context):
            if part == FLUSH:
                yield "".join(ready)
                ready.clear()
            else:
                ready.append(part)
        yield "".join(ready)

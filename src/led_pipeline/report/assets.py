"""What the page carries so that it loads nothing: Vega and DataTables, its style and script, and data as JSON."""

import json
from base64 import b64encode
from importlib.resources import files
from typing import Any

import vl_convert
from markupsafe import Markup

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def vega() -> Markup:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    return Markup(_inside_script(vl_convert.javascript_bundle(_SNIPPET)))


def data_tables() -> Markup:
    """Return the script of DataTables in base64, to be loaded when a reader comes to the table."""
    return Markup(b64encode((files("itables") / "html" / "dt_bundle.js").read_bytes()).decode("ascii"))


def local_file(name: str) -> Markup:
    """Return a file of this folder as it is."""
    return Markup((files("led_pipeline.report") / name).read_text(encoding="utf-8"))


def as_json(value: Any) -> Markup:
    """Return a value as JSON that is safe inside a script element, whatever texts it contains."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _inside_script(code: str) -> str:
    """Return a script that does not end or open a script element; only strings and comments contain these words."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--").replace("<script", "\\x3cscript")

"""`led reference`: print every key of a recipe."""

from typing import Annotated

import typer

from led_pipeline.recipe import reference as pages


def reference(
    schema: Annotated[bool, typer.Option("--schema", help="print a JSON schema, for editors, instead")] = False,
) -> None:
    """Print every key of a recipe as a Markdown page."""
    print(pages.schema() if schema else pages.page(), end="")

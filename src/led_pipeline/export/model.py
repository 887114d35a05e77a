"""Format model: the folder of a stage, as sentence-transformers and transformers open it, checked by opening it."""

from pathlib import Path

from led_pipeline.export.options import Options, Written
from led_pipeline.export.push import write_upload
from led_pipeline.export.source import Source

README = """`model/` is the stage for sentence-transformers and transformers, as `led push` uploads it. Its card,
`model/README.md`, has the measures of the run and the code that opens it, to be run in this folder.
"""


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write the model, and compare what sentence-transformers computes from it.

    Raises:
        InputError: sentence-transformers would compute something else.
    """
    write_upload(source.results, source.system, folder.name, folder)
    return Written(README)

"""Read the texts of a dataset's files, each by its ending and otherwise by the format of the dataset."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.data.formats.examples import read_example_passages, read_example_queries
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.records import Kind, Naming, kind_of
from led_pipeline.data.formats.stored import data_files
from led_pipeline.data.formats.templates import Template
from led_pipeline.data.formats.texts import Side, Text, read_corpus, read_queries, read_tsv
from led_pipeline.recipe.dataset import Format

_KINDS: dict[str, Kind] = {"msmarco": "tab", "beir": "json", "examples": "tab"}  # of endings that tell nothing


@dataclass(frozen=True)
class TextFormat:
    """How the files of passages or of queries are read."""

    form: Format
    side: Side
    template: Template | None = None
    columns: Naming = None

    def two_columns(self, path: Path) -> bool:
        """Tell whether a file is `id TAB text`: titles come from elsewhere, and a template renders both later."""
        return kind_of(path, _KINDS[self.form]) == "tab" and self.columns is None

    def repeats(self, path: Path) -> bool:
        """Tell whether a text may come several times in a file, as those of examples do."""
        return self.form == "examples" and not self.two_columns(path)

    def read(self, path: Path, problems: Problems) -> Iterator[Text]:
        """Yield the texts of a file."""
        if self.two_columns(path):
            return read_tsv(path, problems)
        if self.form == "examples":
            return (read_example_passages if self.side == "passage" else read_example_queries)(path, problems)
        reader = read_corpus if self.side == "passage" else read_queries
        return reader(path, problems, self.template, self.columns, _KINDS[self.form])


def with_folders(paths: Iterable[Path]) -> list[Path]:
    """Return files in order, with the data files of a folder in its place.

    Raises:
        InputError: a folder holds no data.
    """
    return [file for path in paths for file in data_files(path)]

"""The texts of several files, in order and each id once, rendered by a template if there is one."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from led_pipeline.data.formats.characters import is_blank
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.sources import TextFormat
from led_pipeline.data.formats.templates import MissingFieldError, Template
from led_pipeline.data.formats.texts import Text, empty
from led_pipeline.files.errors import InputError


def in_words(paths: Sequence[Path]) -> str:
    """Return the names of files for a message."""
    return ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


class Joined:
    """The texts of several files in order, each id once."""

    def __init__(
        self, paths: Sequence[Path], texts: TextFormat, problems: Problems, repeated: Collection[str] | None = None
    ) -> None:
        """Take the files, how they are read, and where problems go.

        A second text with an id is a duplicate_id, unless examples repeat the same text.

        Args:
            repeated: the ids that several texts have, if they are known: only these are held in memory.
        """
        self._paths, self._texts, self._problems, self._repeated = paths, texts, problems, repeated
        self._ids: dict[str, tuple[Path, int]] = {}  # id -> file and hash of the text that came first

    def files(self) -> Iterator[tuple[Path, Iterator[Text]]]:
        """Yield each file and its texts, which have to be read before the next file."""
        for path in self._paths:
            yield path, self._distinct(path)

    def _distinct(self, path: Path) -> Iterator[Text]:
        repeats, repeated, ids = self._texts.repeats(path), self._repeated, self._ids
        for row in self._texts.read(path, self._problems):
            line, name, title, text = row
            if name not in ids:
                if repeated is None or name in repeated:
                    ids[name] = path, hash((title, text))
                yield row
                continue
            first, content = ids[name]
            if repeats and content == hash((title, text)):
                continue
            where = "on an earlier line" if first == path else f"in {first}"
            fault = f"id '{name}' is {where} too, expected every id once"
            self._problems.add("duplicate_id", path, line, fault)


def read_texts(files: Sequence[Path], form: TextFormat, problems: Problems) -> dict[str, str]:
    """Return the texts of queries by id, in the order of the files."""
    texts: dict[str, str] = {}
    for path, rows in Joined(files, form, problems).files():
        lines = [(line, qid, text) for line, qid, _, text in rows]
        if form.template and form.two_columns(path):
            columns = {"id": [qid for _, qid, _ in lines], "text": [text for _, _, text in lines]}
            new_texts = rendered(form.template, path, columns)
            lines = [(line, qid, text) for (line, qid, _), text in zip(lines, new_texts, strict=True)]
        texts |= zip(*not_blank(lines, path, problems), strict=True)
    return texts


def rendered(template: Template, path: Path, columns: dict[str, list[str]]) -> list[str]:
    """Return the texts that a template renders from the columns of a tab-separated file."""
    try:
        rows = zip(*columns.values(), strict=True)
        return [template.render(dict(zip(columns, row, strict=True))) for row in rows]
    except MissingFieldError as error:
        raise InputError(f"{path}: {error}") from error


def not_blank(rows: Iterable[tuple[int, str, str]], path: Path, problems: Problems) -> tuple[list[str], list[str]]:
    """Return the ids and texts of the (line, id, text) rows whose text is not blank; blank ones are a defect."""
    ids, texts = [], []
    for line, name, text in rows:
        if is_blank(text):
            problems.add("empty_text", path, line, f"{empty(name, text)} after dataset.templates")
        else:
            ids.append(name)
            texts.append(text)
    return ids, texts

"""Recognise the files of a dataset in a folder or a zip archive: collection, titles, queries and judgements.

The default names of both formats (`recipe.dataset.FILES`) come first; otherwise names decide that contain the usual
words. Files are read by `source_texts`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from led_pipeline.data.formats.records import kind_of
from led_pipeline.data.formats.streams import beginning, opened_archive, plain_name
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.dataset import Format

DEEPEST = 2  # folders below the data's own
TEXTS = (".tsv", ".jsonl", ".txt", ".trec", ".qrels", ".csv", ".parquet", ".arrow", ".json")
COLLECTION = ("collection", "corpus", "passages", "passage", "documents", "docs")
QUERIES = ("queries", "query", "questions", "topics")
DEV = ("dev", "validation", "valid", "val")


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split, by their names in the folder."""

    name: str
    queries: str
    qrels: str


@dataclass(frozen=True)
class SourceFolder:
    """The files of a dataset."""

    folder: Path
    format: Format
    collection: str
    titles: str | None
    splits: list[SplitFiles]
    columns: list[str] | None = None
    """The columns of a tab-separated collection that has three."""
    doubts: list[str] = field(default_factory=list)

    def path(self, name: str) -> Path:
        return self.folder / name


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder or a zip archive, relative to it, or to the archive's only folder.

    Raises:
        InputError: there is no such folder or archive.
    """
    if folder.suffix == ".zip" and folder.is_file():
        with opened_archive(folder) as archive:
            names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
        tops = {name.partition("/")[0] for name in names}
        if len(tops) == 1 and all("/" in name for name in names):
            names = [name.partition("/")[2] for name in names]
        return sorted(names)
    if not folder.is_dir():
        raise InputError(
            f"--data {folder}: expected a folder or a .zip archive with a collection, queries and judgements"
        )
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in names if name.count("/") <= DEEPEST and not name.startswith("."))


def recognised(folder: Path) -> SourceFolder:
    """Return the files of the dataset in a folder or archive.

    Raises:
        InputError: there is no collection; the message lists what is there.
    """
    names = [name for name in names_in(folder) if plain_name(name).endswith(TEXTS)]
    texts = [name for name in names if not plain_name(name).endswith(".json")]
    collection = _first(texts, COLLECTION, without=("title",))
    if collection is None:
        others = ", ".join(names_in(folder)[:10]) or "nothing"
        raise InputError(
            f"{folder}: no collection in it, expected collection.tsv (id TAB text) or corpus.jsonl (BEIR), also"
            f" with .gz or .zst; there is {others}"
        )
    form: Format = "beir" if plain_name(collection).endswith(".jsonl") else "msmarco"
    titles = (
        next((n for n in names if "title" in PurePosixPath(n).name.casefold()), None) if form == "msmarco" else None
    )
    qrels = {split_name(name): name for name in names if "qrel" in name.casefold()}
    query_files = [n for n in texts if n not in (collection, titles, *qrels.values()) and _mentions(n, QUERIES)]
    queries = {split_name(name): name for name in query_files}
    splits, doubts = [], []
    for split, file in qrels.items():
        match = _queries_of(split, queries)
        if match is None:
            doubts.append(f"{file}: no queries for it, expected queries.{split}.tsv; it is left out")
        else:
            splits.append(SplitFiles(split, match, file))
    used = {split.queries for split in splits}
    unused = [file for file in query_files if file not in used]
    doubts += [f"{file}: queries without judgements; a split with `qrels: none` ranks them" for file in unused]
    rest = [n for n in names if n not in (collection, titles, *qrels.values(), *query_files)]
    doubts += [f"not used: {', '.join(rest[:5])}{', ...' if rest[5:] else ''}"] if rest else []
    return SourceFolder(folder, form, collection, titles, _sorted(splits), _columns(folder / collection), doubts)


def _columns(collection: Path) -> list[str] | None:
    """Return the columns of a tab-separated collection if its first line has three."""
    if kind_of(collection, "tab") != "tab":
        return None
    first = beginning(collection, 1 << 20)[0].partition(b"\n")[0]
    return ["id", "title", "text"] if first.count(b"\t") == 2 else None


def split_name(file: str) -> str:
    """Return the name of a split in a file's name: `dev_small` for `qrels.dev.small.tsv`; `all` if it has none."""
    path = PurePosixPath(plain_name(file))
    stem = path.name
    for suffix in TEXTS:
        stem = stem.removesuffix(suffix)
    words = [word for word in re.split(r"[^A-Za-z0-9]+", stem) if word]
    words = [word for word in words if not re.fullmatch(r"qrels?|quer(y|ies)|questions?|topics?", word, re.IGNORECASE)]
    name = "_".join(words) or "all"
    return name if name[0].isalpha() else f"split_{name}"


def _queries_of(split: str, queries: dict[str, str]) -> str | None:
    """Return the queries of a split: of the same name, of a name that it begins with, or the only ones."""
    if split in queries:
        return queries[split]
    begun = [file for name, file in queries.items() if split.startswith(f"{name}_") or name.startswith(f"{split}_")]
    if len(begun) == 1:
        return begun[0]
    return queries.get("all") or (next(iter(queries.values())) if len(queries) == 1 else None)


def _sorted(splits: Iterable[SplitFiles]) -> list[SplitFiles]:
    """Return the splits: train first, then dev, then the others; a split of another name for these words is renamed."""
    renamed, splits = [], list(splits)
    if len(splits) == 1 and splits[0].name == "all":
        splits = [SplitFiles("train", splits[0].queries, splits[0].qrels)]
    for split in splits:
        name = "train" if split.name in ("train", "training") else "dev" if split.name in DEV else split.name
        renamed.append(SplitFiles(name, split.queries, split.qrels))
    order = {"train": 0, "dev": 1}
    return sorted(renamed, key=lambda split: (order.get(split.name, 2), split.name))


def _mentions(name: str, words: Sequence[str]) -> bool:
    stem = PurePosixPath(name).name.casefold()
    return any(word in stem for word in words)


def _first(names: Sequence[str], words: Sequence[str], without: Sequence[str]) -> str | None:
    """Return the first file whose name begins with a word, in the order of the words, or else contains one."""
    stems = {name: PurePosixPath(name).name.casefold() for name in names}
    usable = [n for n, stem in stems.items() if not any(w in stem for w in (*without, "qrel", *QUERIES))]
    begins = (name for word in words for name in usable if stems[name].startswith(word))
    contains = (name for word in words for name in usable if word in stems[name])
    return next(begins, None) or next(contains, None)

"""Read rows of Parquet and Arrow files, and the data files of a folder that the library `datasets` saved.

`save_to_disk` writes a folder with `state.json`, which lists the Arrow files; of a `DatasetDict`, one such folder for
each split. A folder without it may hold Parquet or Arrow files, which are read in the order of their names. `datasets`
itself is not needed.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from led_pipeline.data.formats.streams import is_there
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import check_regular, read_json, reading

ENDINGS = (".parquet", ".arrow")
ROWS = 1_024  # held as Python objects at a time
_EXPECTED = "a complete Parquet or Arrow file; write it again"


def is_table(path: Path | str) -> bool:
    """Tell whether a file is read as Parquet or Arrow, by its ending."""
    return str(path).endswith(ENDINGS)


def exists(path: Path | str) -> bool:
    """Tell whether there is a file, on disk or in an archive, or a folder."""
    return Path(path).is_dir() or is_there(path)


def data_files(path: Path | str) -> list[Path]:
    """Return the files of a folder of data, in order; of a file, the file itself.

    Raises:
        InputError: the folder holds no data, or several splits.
    """
    folder = Path(path)
    if not folder.is_dir():
        return [folder]
    if (folder / "state.json").is_file():
        return _saved(folder)
    files = sorted(file for file in folder.iterdir() if is_table(file) and not file.name.startswith("."))
    if not files:
        parts = sorted(state.parent.name for state in folder.glob("*/state.json"))
        advice = f"; it holds the splits {', '.join(parts)}: name one, as {folder.name}/{parts[0]}" if parts else ""
        raise InputError(
            f"{path}: a folder without data, expected one that `save_to_disk` of the library datasets wrote"
            f" (state.json and .arrow files), or one with .parquet or .arrow files{advice}"
        )
    return files


def _saved(folder: Path) -> list[Path]:
    """Return the files that state.json lists."""
    state = folder / "state.json"
    content = read_json(state)
    entries = content.get("_data_files") if isinstance(content, dict) else None
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in entries or []]
    if not names or not all(isinstance(name, str) and name and Path(name).name == name for name in names):
        raise InputError(f"{state}: no file names under _data_files, expected what save_to_disk writes; save it again")
    if content.get("_indices_data_files"):
        raise InputError(f"{state}: rows are chosen by a file of indices; call flatten_indices() and save it again")
    return [folder / str(name) for name in names]


def column_names(path: Path | str) -> list[str]:
    """Return the names of the columns of a Parquet or Arrow file."""
    import pyarrow.parquet as pq  # slow to import; planning needs only the rest of this module

    check_regular(path, _EXPECTED)
    with reading(path, _EXPECTED):
        if str(path).endswith(".parquet"):
            with pq.ParquetFile(path) as file:
                return list(file.schema_arrow.names)
        with _arrow(path) as (schema, _):
            return list(schema.names)


def count(path: Path | str) -> int:
    """Return the number of rows of a Parquet file; of an Arrow file, a number by its size."""
    import pyarrow.parquet as pq

    size = check_regular(path, _EXPECTED)
    if not str(path).endswith(".parquet"):
        return max(1, size // 500)
    with reading(path, _EXPECTED), pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def read_rows(path: Path | str, columns: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number (from 1) of each row of a file, and its values in those of the columns that the file has.

    Raises:
        InputError: the file is damaged, or a column is there twice.
    """
    names = column_names(path)
    if twice := next((name for name in columns if names.count(name) > 1), None):
        raise InputError(f"{path}: {names.count(twice)} columns {twice}, expected one; write it again")
    number = 0
    with reading(path, _EXPECTED):
        for batch in _batches(path, [name for name in names if name in columns]):
            for start in range(0, batch.num_rows, ROWS):
                for row in batch.slice(start, ROWS).to_pylist():
                    number += 1
                    yield number, row


def _batches(path: Path | str, columns: list[str]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    if str(path).endswith(".parquet"):
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield from file.iter_batches(batch_size=ROWS, columns=columns)
        return
    with _arrow(path) as (_, batches):
        for batch in batches:
            batch.validate(full=True)
            yield batch.select(columns)


@contextmanager
def _arrow(path: Path | str) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open an Arrow file in either format, stream (as `datasets` writes) or file; give its schema and its batches."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        if bytes(source.read(6)) == b"ARROW1":
            file = pa.ipc.open_file(source)
            yield file.schema, (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            source.seek(0)
            stream = pa.ipc.open_stream(source)
            yield stream.schema, iter(stream)

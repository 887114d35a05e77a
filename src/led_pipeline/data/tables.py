"""Read and write the binary files between stages, Parquet and Arrow, with row numbers instead of ids.

A passage's row is its position in passages.parquet, a query's row its position in its split's queries.parquet. These
files are internal to a run; `formats` reads and writes text formats (TSV, JSONL, TREC).

| file | kind | columns |
|---|---|---|
| passages.parquet | Parquet | id, title, text: string; content: int64, equal where title and text are |
| queries.parquet | Parquet | id, text: string |
| ranking, pool | Parquet | query: int32 row, ascending; passages: list<int32> rows, best first; scores: list<float32> |
| trainset | Arrow | query: int32; epoch: int16; passages, texts (first rows with them): list<int32>, positive first |
| | | positives: list<int32>, texts of all positives of the query; one list<float32> per teacher |
| tokens | Arrow | title, text: list<uint16 or uint32> token ids without special tokens (queries: text only) |
| sparse vectors | Arrow | terms: list<uint16 or uint32>, ascending; weights: list<float32> |
| dense vectors | npy | float16 or float32 matrix, one row per text |

An Arrow file is one uncompressed record batch, so that reading it maps memory and copies nothing. Parquet files are
read and written by row group, so that memory does not grow with them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from led_pipeline.data.opened import arrow, parquet
from led_pipeline.data.ragged import Ragged as Ragged  # the type of these files' columns: importers take it from here
from led_pipeline.files.atomic import atomic

ROW_GROUP = 65_536  # texts
RANKING_GROUP = 4_096  # queries: 10 MB where each has 300 passages
ID_GROUPS = 16  # row groups whose ids are read at once
CONTENT = "content"  # the one integer column of passages.parquet


Ranked = tuple[int, NDArray[np.int32], NDArray[np.float32]]  # query row; passage rows, best first; scores


@dataclass(frozen=True)
class Ranking:
    """One system's ranking for some queries: per query row, passage rows (best first) and scores."""

    queries: NDArray[np.int32]
    passages: Ragged
    scores: Ragged

    def __len__(self) -> int:
        return len(self.queries)

    def __iter__(self) -> Iterator[Ranked]:
        for i, query in enumerate(self.queries):
            yield int(query), self.passages[i], self.scores[i]

    @classmethod
    def parts(cls, lists: Iterable[Ranked]) -> Iterator["Ranking"]:
        """Group lists into rankings of one row group each."""
        rest = iter(lists)
        while group := list(islice(rest, RANKING_GROUP)):
            queries, passages, scores = zip(*group, strict=True)
            yield cls(
                np.array(queries, dtype=np.int32),
                Ragged.from_rows(passages, np.int32),
                Ragged.from_rows(scores, np.float32),
            )


class Columns(dict[str, Ragged | NDArray]):
    """The columns of an Arrow file; `ragged` and `flat` return a column as the kind that it is."""

    def ragged(self, name: str) -> Ragged:
        """Return a column of lists."""
        column = self[name]
        if not isinstance(column, Ragged):
            raise TypeError(f"column {name} holds one value per row, expected lists")
        return column

    def flat(self, name: str) -> NDArray:
        """Return a column with one value per row."""
        column = self[name]
        if isinstance(column, Ragged):
            raise TypeError(f"column {name} holds lists, expected one value per row")
        return column


def shard_range(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """Return the half-open row range of one of `shards` nearly equal, contiguous shards."""
    if not 0 <= shard < shards:
        raise ValueError(f"shard must be in 0..{shards - 1}, got {shard}")
    return rows * shard // shards, rows * (shard + 1) // shards


def count_rows(path: Path | str) -> int:
    """Return the number of rows of a Parquet file without reading them."""
    with parquet(path) as file:
        return int(file.metadata.num_rows)


def read_column(path: Path | str, name: str) -> list[str]:
    """Return one string column of a Parquet file as a list."""
    with parquet(path) as file:
        values: list[str] = file.read(columns=[name])[name].to_pylist()
        return values


def read_ids(path: Path | str) -> Iterator[tuple[int, pa.ChunkedArray]]:
    """Yield the ids of a Parquet file, about a million at a time, each block with the row of its first id."""
    first = 0
    with parquet(path) as file:
        for group in range(0, file.num_row_groups, ID_GROUPS):
            groups = range(group, min(group + ID_GROUPS, file.num_row_groups))
            ids = file.read_row_groups(groups, columns=["id"])["id"]
            yield first, ids
            first += len(ids)


def every_id(path: Path | str) -> Iterator[str]:
    """Yield the ids of a Parquet file in order."""
    return (name for _, column in read_ids(path) for name in column.to_pylist())


def rows_of(path: Path | str, ids: Collection[str]) -> dict[str, int]:
    """Return the row of each id that a Parquet file has, streaming through the file's ids."""
    value_set = pa.array(list(ids), type=pa.string())
    row_of: dict[str, int] = {}
    for first, column in read_ids(path):
        rows = np.flatnonzero(pc.is_in(column, value_set=value_set))
        row_of.update(zip(column.take(pa.array(rows)).to_pylist(), (rows + first).tolist(), strict=True))
    return row_of


def read_rows(path: Path | str, start: int, stop: int, columns: Sequence[str]) -> Iterator[dict[str, list[str]]]:
    """Yield the rows start..stop of string columns of a Parquet file in batches, reading only their row groups."""
    first = 0
    with parquet(path) as file:
        for group in range(file.num_row_groups):
            length = file.metadata.row_group(group).num_rows
            low, high = max(start, first), min(stop, first + length)
            if low < high:
                yield file.read_row_group(group, columns=list(columns)).slice(low - first, high - low).to_pydict()
            first += length


def read_some(path: Path | str, rows: Collection[int], columns: Sequence[str]) -> dict[int, dict[str, str]]:
    """Return string columns of some rows of a Parquet file, reading each row group that has one of them once."""
    ordered, first = np.array(sorted(rows), dtype=np.int64), 0
    texts: dict[int, dict[str, str]] = {}
    with parquet(path) as file:
        for group in range(file.num_row_groups):
            length = file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(ordered, [first, first + length])
            if low < high:
                table = file.read_row_group(group, columns=list(columns)).take(pa.array(ordered[low:high] - first))
                texts.update(zip(ordered[low:high].tolist(), table.to_pylist(), strict=True))
            first += length
    return texts


def write_strings(
    path: Path | str, batches: Iterable[Mapping[str, list[str] | list[int]]], columns: Sequence[str]
) -> int:
    """Stream batches of string columns, and of CONTENT, into a Parquet file, atomically; return the number of rows."""
    schema = pa.schema([(name, pa.int64() if name == CONTENT else pa.string()) for name in columns])
    rows = 0
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in batches:
            table = pa.table(dict(batch), schema=schema)
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += len(table)
    return rows


def _list_array(ragged: Ragged, value_type: pa.DataType) -> pa.Array:
    offsets = pa.array(ragged.offsets, type=pa.int64())
    return pa.LargeListArray.from_arrays(offsets, pa.array(ragged.values, type=value_type))


def _ragged(column: pa.ChunkedArray) -> Ragged:
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # an empty column has no chunk
        array = pa.array([], type=column.type)
    offsets = array.offsets.to_numpy().astype(np.int64, copy=False)
    values = array.values.to_numpy(zero_copy_only=True)
    if offsets[0] or offsets[-1] < len(values):  # a slice
        return Ragged(values[offsets[0] : offsets[-1]], offsets - offsets[0])
    return Ragged(values, offsets)


_RANKING = pa.schema(
    [("query", pa.int32()), ("passages", pa.large_list(pa.int32())), ("scores", pa.large_list(pa.float32()))]
)


def write_rankings(path: Path | str, parts: Iterable[Ranking]) -> None:
    """Stream the parts of a ranking or a pool into one file, atomically.

    Raises:
        ValueError: the query rows do not ascend, within a part or from one to the next.
    """
    last = -1
    with atomic(path) as temporary, pq.ParquetWriter(temporary, _RANKING, compression="zstd") as writer:
        for part in parts:
            if (np.diff(part.queries, prepend=last) <= 0).any():
                raise ValueError(f"{path}: query rows do not ascend after row {last}")
            last = part.queries[-1] if len(part) else last
            lists = [_list_array(part.passages, pa.int32()), _list_array(part.scores, pa.float32())]
            arrays = [pa.array(part.queries, type=pa.int32()), *lists]
            writer.write_table(pa.table(arrays, schema=_RANKING), row_group_size=RANKING_GROUP)


def write_ranking(path: Path | str, ranking: Ranking) -> None:
    """Write a ranking or a pool, atomically."""
    write_rankings(path, [ranking])


def read_rankings(path: Path | str) -> Iterator[Ranking]:
    """Yield a ranking or a pool row group by row group."""
    with parquet(path) as file:
        for group in range(file.num_row_groups):
            yield _ranking(file.read_row_group(group))


def read_ranking(path: Path | str, start: int = 0, stop: int | None = None) -> Ranking:
    """Read a ranking or a pool, or only its query rows start..stop, from the row groups that hold them."""
    with parquet(path) as file:
        if stop is None:
            return _ranking(file.read())
        ranges = [file.metadata.row_group(group).column(0).statistics for group in range(file.num_row_groups)]
        groups = [i for i, each in enumerate(ranges) if each and each.min < stop and each.max >= start]
        table = file.read_row_groups(groups)
    low, high = np.searchsorted(table["query"].to_numpy(), [start, stop])
    return _ranking(table.slice(low, high - low))


def _ranking(table: pa.Table) -> Ranking:
    return Ranking(table["query"].to_numpy(), _ragged(table["passages"]), _ragged(table["scores"]))


def write_matrix(path: Path | str, matrix: NDArray | Sequence[NDArray]) -> None:
    """Write one array, or several stacked by row, as .npy, atomically; memory maps are copied piece by piece."""
    parts = [matrix] if isinstance(matrix, np.ndarray) else list(matrix)
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    with atomic(path) as temporary, temporary.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(parts[0].dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            for start in range(0, len(part), ROW_GROUP):
                file.write(np.ascontiguousarray(part[start : start + ROW_GROUP]).data)


def write_arrow(
    path: Path | str, columns: Mapping[str, Ragged | NDArray], metadata: dict[str, str] | None = None
) -> None:
    """Write flat and ragged columns of equal length as one uncompressed Arrow batch, atomically."""
    arrays = [
        _list_array(column, pa.from_numpy_dtype(column.values.dtype))
        if isinstance(column, Ragged)
        else pa.array(column)
        for column in columns.values()
    ]
    schema = pa.schema([(n, a.type) for n, a in zip(columns, arrays, strict=True)], metadata=metadata)
    batch = pa.record_batch(arrays, schema=schema)
    with (
        atomic(path, needs=batch.nbytes) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write_batch(batch)


def read_arrow(path: Path | str) -> tuple[Columns, dict[str, str]]:
    """Memory-map an Arrow file written by `write_arrow`; return its columns and its metadata."""
    table = arrow(path)
    columns = Columns()
    for name in table.column_names:
        column = table[name]
        columns[name] = _ragged(column) if pa.types.is_large_list(column.type) else column.to_numpy()
    return columns, {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}

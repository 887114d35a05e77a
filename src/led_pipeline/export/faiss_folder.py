"""A folder with a FAISS index: `index`, and `docid` with the id of every row, as pyserini's FaissSearcher reads it.

FAISS knows no strings: the index numbers passages by row, and `docid` has one id per line. With `--numeric-ids` the
index holds the ids themselves (IndexIDMap2), and there is no such file.

# D = dimensions, B = passages of a block
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.opened import matrix
from led_pipeline.data.tables import every_id, write_matrix
from led_pipeline.export.measured import losses, milliseconds
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source
from led_pipeline.files.atomic import tree_bytes
from led_pipeline.files.errors import InputError

BLOCK = 65_536  # passages that are converted to float32 at once
TILE = 1_024  # queries searched at once
INDEX, IDS, QUERIES = "index", "docid", "queries.npy"
SAMPLE = 10  # queries whose vectors are written beside an index
LARGEST = 2**63 - 1

ROWS = """`{name}/index` is a FAISS index by inner product that numbers passages by row, from 0: row r has the id in
line r + 1 of `{name}/docid`. pyserini opens the folder as it is: `FaissSearcher("{name}", encoder)`.
`{name}/queries.npy` has the vectors of the first queries of `{split}`, to try it out.

```python
import faiss
import numpy as np

index = faiss.read_index("{name}/index")
with open("{name}/docid", encoding="utf-8") as file:
    ids = file.read().split("\\n")
scores, rows = index.search(np.load("{name}/queries.npy"), 10)
for query in range(len(rows)):
    print([(ids[row], float(score)) for row, score in zip(rows[query], scores[query]) if row >= 0])
```
"""
NUMERIC = """`{name}/index` is a FAISS index by inner product that returns the ids of passages, as integers.
`{name}/queries.npy` has the vectors of the first queries of `{split}`, to try it out.

```python
import faiss
import numpy as np

index = faiss.read_index("{name}/index")
scores, ids = index.search(np.load("{name}/queries.npy"), 10)
print(ids)
```
"""


def dimensions(source: Source, options: Options) -> int:
    """Return the number of dimensions of a stage's vectors.

    Raises:
        InputError: there are not as many vectors as passages, passages and queries differ in dimension, or the index
            is to hold ids that are no integers.
    """
    if options.numeric_ids:
        numbers(source.passages)
    files = [matrix(path) for path in source.passage_vectors]
    rows, passages = sum(map(len, files)), source.passage_count()
    if rows != passages:
        raise InputError(
            f"{source.passage_vectors[0]}: {rows:,} vectors in {len(files)} files for {passages:,} passages; encode"
            " the passages again"
        )
    sizes = {int(file.shape[1]) for file in (*files, matrix(source.query_vectors))}
    if len(sizes) > 1:
        raise InputError(f"{source.query_vectors}: vectors of {sorted(sizes)} dimensions; encode them with one stage")
    return sizes.pop()


def blocks(paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors of all passages in blocks (B, D), in row order; only one block is in memory.

    Raises:
        InputError: a value is not finite.
    """
    for path in paths:
        vectors = matrix(path)
        for start in range(0, len(vectors), BLOCK):
            block = np.ascontiguousarray(vectors[start : start + BLOCK], dtype=np.float32)
            if not np.isfinite(block).all():
                raise InputError(f"{path}: a value after row {start} is NaN or infinite; encode the passages again")
            yield block


def numbers(passages: Path) -> NDArray[np.int64]:
    """Return the ids of all passages as integers.

    Raises:
        InputError: an id is not the usual form of an integer that fits into 64 bits.
    """
    values = []
    for row, name in enumerate(every_id(passages)):
        if not (name.isascii() and name.removeprefix("-").isdecimal() and str(int(name)) == name):
            raise InputError(
                f"--numeric-ids: passage {row + 1:,} has the id '{name}', expected an integer without leading zeros;"
                " leave the option out, a file of ids is then written beside the index"
            )
        if abs(int(name)) > LARGEST:
            raise InputError(f"--numeric-ids: the id {name} does not fit into 64 bits; leave the option out")
        values.append(int(name))
    return np.array(values, dtype=np.int64)


def finish(source: Source, folder: Path, index: Any, options: Options, sizes: dict[str, int]) -> Written:
    """Measure an index whose numbers are rows, write it, and return the record.

    Args:
        sizes: the parameters of the index, for the record.
    """
    queries = np.ascontiguousarray(matrix(source.query_vectors), dtype=np.float32)
    faiss.omp_set_num_threads(options.threads)

    def search(vectors: NDArray[np.float32], hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        tiles = [index.search(vectors[start : start + TILE], hits) for start in range(0, len(vectors), TILE)]
        scores, rows = zip(*tiles, strict=True)
        return np.concatenate(scores), np.concatenate(rows)

    measured: dict[str, Any] = losses(source, search, queries, options.threads)
    faiss.omp_set_num_threads(1)
    measured["ms_per_query_one_thread"] = milliseconds(lambda query: index.search(query, 10), queries)
    faiss.omp_set_num_threads(options.threads)
    if options.numeric_ids:
        index = _with_ids(index, numbers(source.passages))
    else:
        with (folder / IDS).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{name}\n" for name in every_id(source.passages))
    faiss.write_index(index, str(folder / INDEX))
    size = tree_bytes(folder / INDEX)
    measured |= {"index_bytes": size, "bytes_per_passage": round(size / max(1, index.ntotal), 1)}
    write_matrix(folder / QUERIES, queries[:SAMPLE])
    readme = (NUMERIC if options.numeric_ids else ROWS).format(name=folder.name, split=source.split)
    return Written(readme, sizes | measured)


def _with_ids(index: Any, ids: NDArray[np.int64]) -> Any:
    """Return a filled index whose numbers are ids instead of rows."""
    mapped = faiss.IndexIDMap2(faiss.IndexFlat(index.d, index.metric_type))  # it takes only an empty index ...
    mapped.index = index  # ... and becomes the frame of the filled one
    mapped.own_fields = False
    faiss.copy_array_to_vector(ids, mapped.id_map)
    mapped.ntotal = len(ids)
    mapped.construct_rev_map()
    return mapped

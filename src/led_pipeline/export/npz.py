"""Format npz: the unquantised weights of all passages as one SciPy matrix, with the ids of its rows and columns."""

import json
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array, save_npz

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import every_id
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source
from led_pipeline.export.terms import Terms, vocabulary_size
from led_pipeline.search.indexes import read_shards

README = """`npz/weights.npz` is a SciPy CSR matrix, one row per passage and one column per entry of the vocabulary.
Line r + 1 of `npz/ids.txt` is the id of row r, and `npz/terms.json` lists the entries.

```python
import json

from scipy.sparse import load_npz

weights = load_npz("npz/weights.npz")
with open("npz/ids.txt", encoding="utf-8") as file:
    ids = file.read().split("\\n")
with open("npz/terms.json", encoding="utf-8") as file:
    terms = json.load(file)
row = weights[[0]].tocoo()
print(ids[0], sorted(zip(row.data.tolist(), (terms[column] for column in row.col)), reverse=True)[:5])
```
"""


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write the matrix, the ids and the entries of the vocabulary."""
    shards, rows = read_shards(source.passage_vectors, source.passages)
    terms = Terms.read(source.model, vocabulary_size(source))
    columns = Ragged.joined([shard.terms for _, shard in shards], np.int32)
    weights = np.concatenate([shard.weights.values for _, shard in shards])
    matrix = csr_array((weights, columns.values, columns.offsets), shape=(rows, len(terms.names)))
    save_npz(folder / "weights.npz", matrix, compressed=False)
    with (folder / "ids.txt").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{name}\n" for name in every_id(source.passages))
    (folder / "terms.json").write_text(json.dumps(list(terms.names), ensure_ascii=False), encoding="utf-8")
    return Written(README.format(), {"passages": rows, "terms": len(terms.names), "weights": len(weights)})

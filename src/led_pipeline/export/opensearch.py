"""Format opensearch: bodies of bulk requests with real ids, texts and unquantised weights, and the index's mapping.

Weights are a field of the type rank_features, which a neural_sparse query multiplies with those of a query. The node
keeps 9 significant bits of a weight. A passage without terms has no such field.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source
from led_pipeline.export.terms import Terms, passages, vocabulary_size
from led_pipeline.files.atomic import write_json

PART_BYTES = 20_000_000  # of one request; a node accepts 100 MB unless its settings say otherwise
SMALLEST = float(np.finfo(np.float32).tiny)  # the smallest rank feature
MAPPING: dict[str, Any] = {
    "mappings": {
        "properties": {
            "title": {"type": "text"},
            "text": {"type": "text"},
            "terms": {"type": "rank_features"},
        }
    }
}

README = """`opensearch/mapping.json` is the body that creates the index, `opensearch/bulk.*.ndjson` are bodies of bulk
requests: an action line with the id, and a document line, for each passage. Documents have `title`, `text` and
`terms`, the weights by term. With opensearch-py:

```python
import json
import os
from pathlib import Path

from opensearchpy import OpenSearch

client = OpenSearch(os.environ["OPENSEARCH_URL"])
client.indices.create(index="passages", body=json.loads(Path("opensearch/mapping.json").read_text()))
for part in sorted(Path("opensearch").glob("bulk.*.ndjson")):
    answer = client.bulk(index="passages", body=part.read_text(encoding="utf-8"))
    assert not answer["errors"], part
client.indices.refresh(index="passages")
```

A search multiplies the weights of a query with those of the passages:

```json
{{"query": {{"neural_sparse": {{"terms": {{"query_tokens": {example}}}}}}}}}
```

Terms are the entries of the vocabulary. White space and dots in an entry, which names of features must not have, are
written with escapes: a dot as `\\u002e`.
"""


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write the mapping and the bulk requests."""
    terms = Terms.read(source.model, vocabulary_size(source), dots=False)
    write_json(folder / "mapping.json", MAPPING)
    part, lines, size, rows = 0, [], 0, 0
    for document in documents(source, terms):
        lines.append(document)
        size, rows = size + len(document), rows + 1
        if size >= PART_BYTES:
            _write_part(folder, part, lines)
            part, lines, size = part + 1, [], 0
    if lines:
        _write_part(folder, part, lines)
        part += 1
    example = json.dumps(dict.fromkeys(terms.names[-2:], 1.5), ensure_ascii=False)
    return Written(README.format(example=example), {"passages": rows, "parts": part})


def documents(source: Source, terms: Terms) -> Iterator[str]:
    """Yield the two lines of each passage."""
    for each in passages(source, quantised=False):
        pairs = zip(each.terms, each.weights, strict=True)
        features = {terms.names[term]: weight for term, weight in pairs if weight >= SMALLEST}
        document: dict[str, Any] = {"title": each.title, "text": each.text} | ({"terms": features} if features else {})
        action = json.dumps({"index": {"_id": each.id}}, ensure_ascii=False)
        yield f"{action}\n{json.dumps(document, ensure_ascii=False)}\n"


def _write_part(folder: Path, part: int, lines: list[str]) -> None:
    (folder / f"bulk.{part:05d}.ndjson").write_text("".join(lines), encoding="utf-8")

"""Costs: how large each system's vectors and index are, and how long encoding and searching take, from a run's files.

A number that no job has left is None.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from led_pipeline.data.opened import matrix
from led_pipeline.data.tables import count_rows
from led_pipeline.files.reading import read_json
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import VECTOR_SUFFIX, Layout
from led_pipeline.recipe.variants import bytes_per_passage

Costs = dict[str, float | None]


def costs(recipe: Recipe, results: Path) -> dict[str, Costs]:
    """Return the costs of every system.

    - vector_bytes: of the stored vectors of all passages; those of a variant as its codes take them.
    - index_bytes: of the Lucene index or the posting file; dense stages have none.
    - bytes_per_passage: of what a search reads, the index if there is one, otherwise the vectors.
    - encode_per_s: passages that a job encodes in a second.
    - p50_ms, p95_ms: of a search (`search/query_time.py`, `use/query_time.py`, `use/rerank_time.py`).

    A fusion has the bytes of all its systems, a ranker those of the system that it re-ranks.
    """
    layout = Layout(results)
    passages = count_rows(layout.passages) if Path(layout.passages).exists() else 0
    by_system: dict[str, Costs] = {}
    for system in needs.systems(recipe):
        by_system[system] = _of(recipe, layout, system, passages)
        if others := [e.source for e in needs.edges(recipe, system) if e.kind in ("candidates", "fused")]:
            by_system[system] |= _together([by_system[name] for name in others])
    return by_system


def _together(parts: Sequence[Costs]) -> Costs:
    """Return the bytes of several systems; what a search reads is unknown (None) if that of one of them is."""
    read = [part["bytes_per_passage"] for part in parts]
    together: Costs = {"bytes_per_passage": None if None in read else sum(filter(None, read))}
    for key in ("vector_bytes", "index_bytes"):
        stored = [part[key] for part in parts if part[key] is not None]
        together[key] = sum(filter(None, stored)) if stored else None
    return together


def _of(recipe: Recipe, layout: Layout, system: str, passages: int) -> Costs:
    shards = range(recipe.dataset.shards)
    variant = recipe.variants.get(system)
    vectors = vector_bytes(recipe, layout, variant.of if variant else system)
    if variant and vectors is not None:
        vectors = passages * bytes_per_passage(variant.dimensions or width(layout, variant.of), variant.precision)
    stage = recipe.stages.get(system)
    engine = recipe.search.lexicon_engine if stage and stage.output == "sparse" else recipe.search.backend
    local = engine != "opensearch"  # a node keeps its indexes elsewhere
    index = folder_size(Path(layout.index(system))) if local else None
    read = index if index is not None else vectors
    time = Path(layout.query_time(system))
    measured = read_json(time) if time.exists() else {}
    return {
        "bytes_per_passage": read / passages if read is not None and passages else None,
        "vector_bytes": vectors,
        "index_bytes": index,
        "encode_per_s": encoding_rate([Path(layout.encoding_note(system, shard)) for shard in shards]),
        "p50_ms": measured.get("p50_ms"),
        "p95_ms": measured.get("p95_ms"),
    }


def vector_bytes(recipe: Recipe, layout: Layout, system: str) -> int | None:
    """Return the bytes of a stage's passage vectors, from the notes where they were removed; None if it has none."""
    stage = recipe.stages.get(system)
    suffix = VECTOR_SUFFIX.get((stage.output if stage else None) or "")
    if suffix is None:
        return None
    total = 0
    for shard in range(recipe.dataset.shards):
        path, note = Path(layout.passage_vectors(system, shard, suffix)), Path(layout.encoding_note(system, shard))
        size = path.stat().st_size if path.is_file() else read_json(note).get("bytes") if note.is_file() else None
        if size is None:
            return None
        total += size
    return total


def width(layout: Layout, stage: str) -> int:
    """Return the number of dimensions of a dense stage's vectors."""
    path = Path(layout.passage_vectors(stage, 0, VECTOR_SUFFIX["dense"]))
    return int(matrix(path).shape[1] if path.is_file() else read_json(layout.encoding_note(stage, 0))["dimensions"])


def folder_size(folder: Path) -> int | None:
    """Return the bytes of all files of a folder, or None if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else None


def encoding_rate(notes: Sequence[Path]) -> float | None:
    """Return the texts per second of the jobs that encoded the passages, from their notes; None if one is missing."""
    if not all(path.is_file() for path in notes):
        return None
    read = [read_json(path) for path in notes]
    seconds = sum(note["seconds"] for note in read)
    return sum(note["texts"] for note in read) / seconds if seconds else None


def is_worth_showing(measured: Mapping[str, Costs]) -> bool:
    """Return whether there is any number."""
    return any(value is not None for each in measured.values() for value in each.values())

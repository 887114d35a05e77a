"""Options of an export, and the record of a written format."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Options:
    """What the user may choose; None: by the rule of the format."""

    threads: int = 1
    seed: int = 42
    """seed of the passages that an IVF-PQ index is trained on"""
    numeric_ids: bool = False
    """FAISS: the index holds the ids themselves, which must be integers"""
    hnsw_links: int | None = None
    hnsw_build: int | None = None
    hnsw_search: int | None = None
    ivf_lists: int | None = None
    ivf_probes: int | None = None
    pq_bytes: int | None = None


@dataclass(frozen=True)
class Written:
    """What a format wrote."""

    readme: str
    """how to open it, in Markdown"""
    measured: dict[str, Any] = field(default_factory=dict)
    """sizes, losses and checks, for export.json and the terminal"""

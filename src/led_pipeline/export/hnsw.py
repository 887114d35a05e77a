"""Format hnsw: a FAISS graph index, fast and almost exact; it needs more memory than a flat one."""

from pathlib import Path

import faiss

from led_pipeline.export.faiss_folder import blocks, dimensions, finish
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source

BUILD = 200  # candidates while a passage is inserted
SEARCH = 200  # candidates of a search; more than the deepest ranking that is measured


def links(passages: int) -> int:
    """Return the links per passage: 16 up to 100,000 passages, 32 beyond."""
    return 16 if passages <= 100_000 else 32


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write a FAISS IndexHNSWFlat; with one thread, the same vectors give the same graph."""
    size = dimensions(source, options)
    count = options.hnsw_links or links(source.passage_count())
    index = faiss.IndexHNSWFlat(size, count, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = options.hnsw_build or BUILD
    index.hnsw.efSearch = options.hnsw_search or SEARCH
    faiss.omp_set_num_threads(options.threads)
    for block in blocks(source.passage_vectors):
        index.add(block)
    sizes = {"dimensions": size, "links": count} | {
        "build_candidates": index.hnsw.efConstruction,
        "search_candidates": index.hnsw.efSearch,
    }
    return finish(source, folder, index, options, sizes)

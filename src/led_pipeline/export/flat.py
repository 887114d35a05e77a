"""Format flat: a FAISS index that compares a query with every passage, exactly as the run does."""

from pathlib import Path

import faiss

from led_pipeline.export.faiss_folder import blocks, dimensions, finish
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write a FAISS IndexFlatIP."""
    size = dimensions(source, options)
    index = faiss.IndexFlatIP(size)
    for block in blocks(source.passage_vectors):
        index.add(block)
    return finish(source, folder, index, options, {"dimensions": size})

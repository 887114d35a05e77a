"""`led export`: write a trained stage, or BM25, for other tools: FAISS, Lucene, OpenSearch, SciPy, ONNX."""

import os
from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.commands.options import Results, complete_system, results_folder


def export(
    stage: Annotated[str, typer.Argument(help="a stage of the run, or bm25", autocompletion=complete_system)],
    to: Annotated[Path, typer.Option(help="the folder to write, a new or an empty one", metavar="DIR")],
    results: Results = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            help="one or several, with commas: flat, hnsw, ivfpq (dense); lucene, jsonl, opensearch, npz (lexicon);"
            " lucene (bm25); onnx, onnx-int8, model (any stage). Default: flat, lucene, or onnx for a ranker",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="the split whose queries measure the export", show_default="the evaluated one")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="threads of FAISS and Anserini")] = os.cpu_count() or 1,
    seed: Annotated[int, typer.Option(min=0, help="seed of the passages that ivfpq trains on")] = 42,
    numeric_ids: Annotated[
        bool, typer.Option("--numeric-ids", help="FAISS: put integer ids into the index, without a file of ids")
    ] = False,
    hnsw_links: Annotated[int | None, typer.Option(min=2, max=512, help="hnsw: links per passage (M)")] = None,
    hnsw_build: Annotated[int | None, typer.Option(min=1, help="hnsw: efConstruction")] = None,
    hnsw_search: Annotated[int | None, typer.Option(min=1, help="hnsw: efSearch, stored in the index")] = None,
    ivf_lists: Annotated[int | None, typer.Option(min=1, help="ivfpq: number of inverted lists")] = None,
    ivf_probes: Annotated[int | None, typer.Option(min=1, help="ivfpq: lists that a search visits, stored")] = None,
    pq_bytes: Annotated[int | None, typer.Option(min=1, help="ivfpq: bytes per passage")] = None,
) -> None:
    """Write a stage, or bm25, in the formats of other tools."""
    from led_pipeline.export.folder import export as write
    from led_pipeline.export.options import Options
    from led_pipeline.export.source import open_source

    options = Options(threads, seed, numeric_ids, hnsw_links, hnsw_build, hnsw_search, ivf_lists, ivf_probes, pq_bytes)
    names = [name.strip() for each in formats or [] for name in each.split(",") if name.strip()]
    write(open_source(results_folder(results), stage, split), names, to, options)
    print(f"{to}: complete; README.md in it says how to open it")

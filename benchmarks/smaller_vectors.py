"""Measure smaller vectors of trained dense stages, from the vectors in a results folder.

Run as `python benchmarks/smaller_vectors.py --results results/demo den_continue`: a table with one row per kind of
vectors: bytes per passage, MRR@10, recall@100 and the median time of a search. It computes what `variants` of a recipe
with `evaluation.depth: 100` would show.
"""

import argparse
from pathlib import Path

import numpy as np

from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.tables import count_rows, read_column
from led_pipeline.evaluation.evaluate import PassageIds, with_ids
from led_pipeline.evaluation.measures import measure
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.variants import VariantSettings
from led_pipeline.search import query_time, variants

HITS, TIMED = 100, 500
MEASURES = ("MRR@10", "recall@100")
KINDS = {  # a share of the dimensions, precision and rescoring
    "float16": {},
    "half of the dimensions": {"dimensions": 2},
    "a quarter": {"dimensions": 4},
    "an eighth": {"dimensions": 8},
    "int8": {"precision": "int8"},
    "half of the dimensions, int8": {"precision": "int8", "dimensions": 2},
    "binary": {"precision": "binary"},
    "binary, rescore: 4": {"precision": "binary", "rescore": 4},
}


def row(layout: Layout, stage: str, split: str, kind: str) -> list[str]:
    """Return the cells of one kind of vectors."""
    settings = read_json(Path(layout.model_note(stage)))
    paths = sorted(Path(layout.passage_vectors(stage, 0, "npy")).parent.glob("passages.*.npy"), key=_number)
    queries = Path(layout.query_vectors(stage, split, "npy"))
    changes = dict(KINDS[kind])
    if share := changes.pop("dimensions", None):
        changes["dimensions"] = np.load(queries, mmap_mode="r").shape[1] // share
    smaller = VariantSettings(of=stage, normalize=settings.get("normalize", False), **changes)
    ranking = variants.search(paths, queries, smaller, HITS, threads=1)
    ids = PassageIds.read(Path(layout.passages), np.arange(count_rows(layout.passages), dtype=np.int32))
    run = with_ids([ranking], read_column(Path(layout.queries(split)), "id"), ids, HITS)
    means = measure(run, load_qrels(Path(layout.qrels(split))), measures=MEASURES).means()
    times = query_time.query_time(paths, queries, smaller, HITS, TIMED)
    return [
        kind,
        str(times["bytes_per_passage"]),
        *(f"{means[name]:.3f}" for name in MEASURES),
        f"{times['p50_ms']:.2f}",
    ]


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure smaller vectors of dense stages.")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("stages", nargs="+")
    a = parser.parse_args()
    for stage in a.stages:
        print(f"{stage}\n\n| vectors | bytes per passage | MRR@10 | recall@100 | p50 ms |\n|---|---|---|---|---|")
        for kind in KINDS:
            print(f"| {' | '.join(row(Layout(a.results), stage, a.split, kind))} |", flush=True)


if __name__ == "__main__":
    main()

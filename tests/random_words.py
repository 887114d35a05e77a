"""A collection of random words, as files in MS MARCO's format."""

import random
from pathlib import Path


def write_data(folder: Path) -> None:
    """Write a collection of random words; a query is the beginning of its passage."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghij", k=5)) for _ in range(400)]
    texts = [" ".join(draw.choices(words, k=12)) for _ in range(300)]
    splits = {"train": range(200), "dev": range(200, 240)}
    lines = {
        "collection": [f"{i}\t{text}" for i, text in enumerate(texts)],
        "negatives": [f"{i}\t{','.join(str((i + j) % len(texts)) for j in range(1, 9))}" for i in splits["train"]],
    }
    for name, rows in splits.items():
        lines[f"queries.{name}"] = [f"{i}\t{texts[i][:24]}" for i in rows]
        lines[f"qrels.{name}"] = [f"{i}\t0\t{i}\t1" for i in rows]
    for name, content in lines.items():
        (folder / f"{name}.tsv").write_text("\n".join(content) + "\n")

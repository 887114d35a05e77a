"""What grows with a collection: at most some bytes for each further passage, far fewer than its id takes in Python."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from led_pipeline.data import collection, id_table, packed, provenance
from led_pipeline.data.collection import prepare_passages
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.id_table import IdTable
from led_pipeline.data.same_text import first_rows
from led_pipeline.data.tables import write_strings

WARM_UP, SIZES = 1_000, (10_000, 40_000)  # passages; the first run also loads modules


def name(row: int) -> str:
    return f"msmarco_passage_{row}"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Make blocks small, so that they take the same memory for both sizes."""
    monkeypatch.setattr(collection, "ROW_GROUP", 1_000)
    monkeypatch.setattr(id_table, "BLOCK", 1_000)
    monkeypatch.setattr(packed, "BLOCK", 1_000)
    monkeypatch.setattr(provenance, "digest", str)  # reads large blocks


def growth(step: Callable[[Path, int], object], folder: Path) -> float:
    """Return by how many bytes per passage the peak of a step is higher for the larger size."""
    peaks = []
    for size in (WARM_UP, *SIZES):
        (folder / str(size)).mkdir()
        tracemalloc.start()
        try:
            step(folder / str(size), size)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return (peaks[2] - peaks[1]) / (SIZES[1] - SIZES[0])


def test_preparing_passages_holds_no_id(tmp_path):
    for size in (WARM_UP, *SIZES):
        (tmp_path / f"{size}.tsv").write_text("".join(f"{name(row)}\tsome text\n" for row in range(size)))

    def prepare(folder: Path, size: int) -> None:
        source = tmp_path / f"{size}.tsv"
        prepare_passages([source], None, "msmarco", (), folder / "p.parquet", Repair(False))

    assert growth(prepare, tmp_path) < 16, "8 for the hash and the row, and what an array allocates ahead"


def test_looking_ids_up_holds_no_id(tmp_path):
    def look_up(folder: Path, size: int) -> None:
        groups = ({"id": [name(row) for row in range(start, start + 1_000)]} for start in range(0, size, 1_000))
        write_strings(folder / "p.parquet", groups, ["id"])
        ids = IdTable.of(folder / "p.parquet", folder)
        assert ids.rows([name(size - 1), name(size)]).tolist() == [size - 1, -1]

    assert growth(look_up, tmp_path) < 16


def test_finding_equal_texts_holds_a_hash_and_a_row_of_each_passage(tmp_path):
    for size in (WARM_UP, *SIZES):
        numbers = np.random.default_rng(size).integers(-(2**63), 2**63 - 1, size)
        pq.write_table(pa.table({"content": numbers}), tmp_path / f"{size}.parquet", row_group_size=1_000)
    assert growth(lambda _, size: first_rows(tmp_path / f"{size}.parquet"), tmp_path) < 16

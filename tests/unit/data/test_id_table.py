"""The rows of ids that are on the disk, against a dictionary, also where hashes agree."""

import numpy as np
import pyarrow as pa
import pytest

from led_pipeline.data import id_table, packed
from led_pipeline.data.id_table import IdTable
from led_pipeline.data.tables import write_strings

IDS = ["p7", "é", "007", "7", "p" * 300, "北京", "p70", "P7", *(str(row) for row in range(1_000, 1_200))]
HASHES = {
    "Python's": id_table.hashes,
    "equal": lambda ids: np.zeros(len(ids), dtype=np.uint64),
    "of three values": lambda ids: np.array([len(name) % 3 for name in ids], dtype=np.uint64) << 62,
}


@pytest.fixture(params=HASHES)
def hashed(request, monkeypatch):
    monkeypatch.setattr(id_table, "hashes", HASHES[request.param])


def table(folder, *parts: list[str]) -> IdTable:
    ids = IdTable(folder)
    for part in parts:
        ids.add(part)
    return ids


@pytest.mark.usefixtures("hashed")
@pytest.mark.parametrize("block", [1, 3, 1_000])
def test_every_id_has_its_row_and_others_have_none(tmp_path, monkeypatch, block):
    monkeypatch.setattr(id_table, "BLOCK", block)
    ids = table(tmp_path, IDS[:5], [], IDS[5:])
    looked_up = [*reversed(IDS), "p", "p77", "1200", "", *IDS[:3]]
    expected = {name: row for row, name in enumerate(IDS)}
    assert ids.rows(looked_up).tolist() == [expected.get(name, -1) for name in looked_up]
    assert ids.has(looked_up).tolist() == [name in expected for name in looked_up]
    assert list(ids) == IDS and len(ids) == len(IDS)
    assert ids.repeated() == set()


@pytest.mark.usefixtures("hashed")
def test_repeated_ids_are_found_wherever_they_are_and_have_their_first_row(tmp_path):
    ids = table(tmp_path, ["a", *IDS, "b"], ["c", "b"], ["a", "a", "007"])
    assert ids.repeated() == {"a", "b", "007"}
    assert ids.rows(["a", "b", "007"]).tolist() == [0, len(IDS) + 1, 3]


def test_an_empty_table_has_no_id(tmp_path):
    ids = table(tmp_path, [])
    assert ids.rows(["a"]).tolist() == [-1]
    assert ids.rows([]).tolist() == [] and list(ids) == [] and ids.repeated() == set()


def test_a_table_of_a_file_has_the_rows_of_the_file_and_leaves_nothing_on_the_disk(tmp_path):
    write_strings(tmp_path / "p.parquet", [{"id": IDS[:100]}, {"id": IDS[100:]}], ["id"])
    ids = IdTable.of(tmp_path / "p.parquet", tmp_path)
    assert ids.rows(IDS).tolist() == list(range(len(IDS)))
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_a_slice_of_an_array_is_added_without_its_neighbours(tmp_path):
    ids = IdTable(tmp_path)
    ids.add(pa.array(IDS).slice(3, 9))
    assert list(ids) == IDS[3:12]


def test_no_id_is_added_after_a_look_up(tmp_path):
    ids = table(tmp_path, ["a"])
    ids.rows(["a"])
    with pytest.raises(ValueError, match="no more can be added"):
        ids.add(["b"])


@pytest.mark.parametrize("block", [1, 2, 7, 1_000])
@pytest.mark.parametrize("different", [1, 5, 300])
def test_candidates_are_the_rows_whose_hash_another_row_has(monkeypatch, block, different):
    monkeypatch.setattr(packed, "BLOCK", block)
    numbers = np.random.default_rng(different).integers(0, different, 200).astype(np.uint64) << np.uint64(40)
    expected = [row for row, number in enumerate(numbers.tolist()) if numbers.tolist().count(number) > 1]
    entries = numbers.copy()
    bits = packed.pack(entries)
    assert packed.candidates(entries, bits).tolist() == expected
    assert sorted(packed.rows(entries, bits).tolist()) == list(range(200))
    by_row = entries[np.argsort(packed.rows(entries, bits))]
    assert packed.high(by_row, bits).tolist() == numbers.tolist()

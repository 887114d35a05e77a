"""Ids that a collection repeats, near and far, against a plain loop; hashes may agree."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from led_pipeline.data import collection, id_table
from led_pipeline.data.collection import prepare_passages
from led_pipeline.data.formats.repair import Repair
from led_pipeline.files.errors import InputError

TWICE = "cafÃ©"


def prepared(folder, lines: list[str], titles: list[str] | None = None, skip=("duplicate_id",), repair: bool = False):
    """Prepare a collection; return its rows and the provenance."""
    (folder / "c.tsv").write_text("".join(f"{line}\n" for line in lines))
    if titles is not None:
        (folder / "t.tsv").write_text("".join(f"{line}\n" for line in titles))
    files = [folder / "c.tsv"], None if titles is None else folder / "t.tsv"
    record = prepare_passages(*files, "msmarco", skip, folder / "p.parquet", Repair(repair))
    assert {path.name for path in folder.iterdir()} <= {"c.tsv", "t.tsv", "p.parquet"}
    table = pq.read_table(folder / "p.parquet", columns=["id", "title", "text"])
    return [tuple(row.values()) for row in table.to_pylist()], record


@pytest.fixture(params=["Python's hash", "equal hashes"], autouse=True)
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(collection, "ROW_GROUP", 4)
    if request.param == "equal hashes":
        monkeypatch.setattr(id_table, "hashes", lambda ids: np.zeros(len(ids), dtype=np.uint64))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("different", [1, 12, 60, 5_000])
def test_the_first_line_of_an_id_counts_wherever_the_others_are(tmp_path, seed, different):
    names = np.random.default_rng(seed).integers(0, different, 50).tolist()
    first: dict[str, str] = {}
    for line, name in enumerate(names):
        first.setdefault(f"p{name}", f"text {line}")
    rows, record = prepared(tmp_path, [f"p{name}\ttext {line}" for line, name in enumerate(names)])
    assert rows == [(name, "", text) for name, text in first.items()]
    assert record["counts"]["passages"] == len(first)
    lost = {str(tmp_path / "c.tsv"): {"duplicate_id": 50 - len(first)}} if len(first) < 50 else {}
    assert record["skipped"] == lost


def test_titles_of_a_collection_with_repeated_ids_are_joined_and_counted_once(tmp_path):
    lines = [f"p{i}\t{TWICE}" for i in range(10)] + ["p0\tagain", "p9\tagain"]
    titles = [f"p{i}\tTitle {i}" for i in reversed(range(10))] + ["p3\tanother", "P3\tlooks alike", "x\tof no passage"]
    rows, record = prepared(tmp_path, lines, titles, repair=True)
    assert rows == [(f"p{i}", f"Title {i}", "café") for i in range(10)]
    counts = {"passages": 10, "passages_without_title": 0, "titles_without_passage": 2, "passages_repaired": 10}
    assert record["counts"] == counts | {"titles_repaired": 0}
    assert record["skipped"] == {str(tmp_path / name): {"duplicate_id": n} for name, n in (("c.tsv", 2), ("t.tsv", 1))}
    assert record["noted"] == {str(tmp_path / "t.tsv"): {"look_alike": 1}}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({20: "p1\tagain", 30: "malformed"}, r"c\.tsv:21: id 'p1' is on an earlier line too.*1 malformed"),
        ({20: "malformed", 30: "p1\tagain"}, r"c\.tsv:21: 1 column.*1 duplicate_id"),
    ],
)
def test_the_first_fault_of_the_file_is_named_first(tmp_path, wrong, sentence):
    lines = [wrong.get(i, f"p{i}\ttext") for i in range(40)]
    with pytest.raises(InputError, match=sentence):
        prepared(tmp_path, lines, skip=())
    assert not (tmp_path / "p.parquet").exists()

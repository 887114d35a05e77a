"""Texts in named columns: tab-separated, CSV, Parquet, Arrow and folders of the library datasets."""

import json
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.sources import TextFormat, with_folders
from led_pipeline.data.formats.templates import Template
from led_pipeline.files.errors import InputError

ROWS = [("p1", "One", "the first"), ("p2", "", 'a "quoted", text')]


def texts(path, columns=None, form="msmarco", side="passage", template=None, skip=()):
    """Return the ids, titles and texts of a file or folder."""
    problems = Problems(skip)
    reader = TextFormat(form, side, template, columns)
    rows = [row[1:] for file in with_folders([path]) for row in reader.read(file, problems)]
    problems.check()
    return rows


def write(path, content):
    path.write_bytes(content.encode())
    return path


TAB = 'p1\tOne\tthe first\np2\t\ta "quoted", text\n'


@pytest.mark.parametrize("first", ["", "id\ttitle\ttext\n"])
def test_a_list_of_names_reads_columns_with_or_without_that_header(tmp_path, first):
    assert texts(write(tmp_path / "c.tsv", first + TAB), ["id", "title", "text"]) == ROWS


def test_a_mapping_reads_the_columns_that_a_header_names(tmp_path):
    path = write(tmp_path / "c.tsv", "Titel\tNr\tVolltext\tx\nOne\tp1\tthe first\t9\n")
    assert texts(path, {"id": "Nr", "title": "Titel", "text": "Volltext"}) == [ROWS[0]]


def test_a_mapped_id_replaces_other_ids_of_a_record(tmp_path):
    path = write(tmp_path / "c.jsonl", json.dumps({"_id": "row 1", "pid": 7, "body": "x"}) + "\n")
    assert texts(path, {"id": "pid", "text": "body"}) == [("7", "", "x")]


def test_a_template_renders_the_columns_of_a_file(tmp_path):
    path = write(tmp_path / "c.csv", "id,name,year\np1,One,1999\n")
    assert texts(path, template=Template("{name} ({year})")) == [("p1", "", "One (1999)")]


@pytest.mark.parametrize("header", ["pid\ttitle\tbody", "id\tTitel\tVolltext", "doc_id\tname\tcontent_de"])
def test_an_unnamed_header_is_an_error_that_says_what_to_write(tmp_path, header):
    path = write(tmp_path / "c.tsv", f"{header}\n{TAB}")
    with pytest.raises(
        InputError, match=r"c\.tsv:1: the line reads .*names of columns, expected the columns id, title"
    ):
        texts(path, ["id", "title", "text"])
    with pytest.raises(InputError, match=r"c\.tsv:1: 3 column\(s\), expected 2.*passage: \[id, title, text\]"):
        texts(path)


@pytest.mark.parametrize("header", ["pid\tVolltext", "id\tcontent_de", "_id\tabstract"])
def test_a_header_of_two_columns_names_the_key_that_reads_it(tmp_path, header):
    path = write(tmp_path / "c.tsv", f"{header}\np1\tone\n")
    with pytest.raises(InputError, match=r"c\.tsv:1: .*names of columns.*dataset\.columns, such as passage: {id: pid"):
        texts(path)
    name, value = header.split("\t")
    assert texts(path, {"id": name, "text": value}) == [("p1", "", "one")]


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("c.tsv", "p1\tone\n", ["id", "title", "text"], r":1: 2 column\(s\), expected 3: id, title, text"),
        ("c.tsv", TAB + "id\ttitle\ttext\n", ["id", "title", "text"], r":3: the line reads 'id TAB title.*header_line"),
        (
            "c.tsv",
            "pid\tbody\np1\tone\n",
            {"id": "nr"},
            ":1: no column 'nr', which dataset.columns.passage names for id",
        ),
        (
            "c.csv",
            "p1,one\n",
            None,
            r":1: the columns 'p1, one', none of which .*dataset\.columns\.passage: \[id, text\]",
        ),
        ("c.csv", "pid,body\n", None, r":1: .*say which columns have them: dataset\.columns\.passage: {id: NAME"),
        ("c.csv", "id;text\np1;one\n", None, ":1: .*write the file with commas between columns, not semicolons"),
        ("c.csv", "id,text,text\n", None, ":1: 2 columns are called 'text', expected different names"),
        ("c.csv", 'id,text\np1,"one\n\ntwo\np2,x\n', None, ":2: the row that begins here is no CSV"),
        ("c.csv", "id,text\np1,a\n\np2,b,c\n", None, r":3: a blank line, expected a row.*1 more malformed"),
        ("c.csv", "id,text\np1, \n", None, r":2: the title and the text of 'p1' are empty.*empty_text"),
        ("c.csv", "id,name\np1,a\n", None, ":2: text is None, expected a string"),
        ("c.csv", "id,text\np 1,a\n", None, ":2: _id is 'p 1', expected an id"),
        ("c.parquet", "text", None, ": .*expected a complete Parquet or Arrow file; write it again"),
        ("c.arrow", "text and more", None, ": .*expected a complete Parquet or Arrow file; write it again"),
    ],
)
def test_error_names_file_line_and_expectation(tmp_path, name, content, columns, message):
    with pytest.raises(InputError, match=name.replace(".", r"\.") + message):
        texts(write(tmp_path / name, content), columns)


def test_csv_is_read_as_pandas_writes_it(tmp_path):
    """Texts with commas, quotes and line breaks come back as they were."""
    draw = random.Random(7)
    values = ["".join(draw.choices('ab,"\n é;\t', k=9)) + "x" for _ in range(200)]
    frame = pd.DataFrame({"title": values[::-1], "id": [f"p{i}" for i in range(200)], "text": values})
    frame.to_csv(tmp_path / "c.csv", index=False)
    assert texts(tmp_path / "c.csv") == list(zip(frame["id"], frame["title"], frame["text"], strict=True))


def test_the_list_of_a_csv_without_header_may_name_any_number_of_columns(tmp_path):
    assert texts(write(tmp_path / "c.csv", "p1,One,7,the first\n"), ["id", "title", "year", "text"]) == [ROWS[0]]


TABLE = pa.table({"docid": ["p1", "p2"], "title": ["One", None], "text": [row[2] for row in ROWS], "n": [1, 2]})


def save_arrow(path, table, stream=True):
    writer = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, writer(sink, table.schema) as file:
        file.write_table(table, max_chunksize=1)


def save_to_disk(folder, *tables):
    """Write what Dataset.save_to_disk writes: shards of Arrow streams and state.json."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(tables):05}.arrow" for i in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        save_arrow(folder / name, table)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "x", "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_tables_are_read_with_their_own_names(tmp_path):
    pq.write_table(TABLE, tmp_path / "c.parquet", row_group_size=1)
    save_arrow(tmp_path / "stream.arrow", TABLE)
    save_arrow(tmp_path / "file.arrow", TABLE, stream=False)
    for name in ("c.parquet", "stream.arrow", "file.arrow"):
        assert texts(tmp_path / name, form="beir") == ROWS
    queries = texts(tmp_path / "c.parquet", {"id": "n"}, side="query")
    assert queries == [("1", *ROWS[0][1:]), ("2", *ROWS[1][1:])]


def test_a_folder_of_the_library_datasets_is_read_shard_by_shard(tmp_path):
    folder = save_to_disk(tmp_path / "corpus", TABLE.slice(1), TABLE.slice(0, 1))
    assert texts(folder) == ROWS[::-1], "the order of state.json, not of names"
    hub = tmp_path / "hub"
    hub.mkdir()
    for i in (0, 1):
        pq.write_table(TABLE.slice(i, 1), hub / f"train-0000{i}-of-00002.parquet")
    assert texts(hub) == ROWS


def test_error_names_a_folder_that_is_no_dataset(tmp_path):
    save_to_disk(tmp_path / "all/train", TABLE)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}')
    (tmp_path / "empty").mkdir()
    lost = save_to_disk(tmp_path / "lost", TABLE)
    (lost / "data-00000-of-00001.arrow").unlink()
    for name, message in {
        "all": r"all: a folder without data, .*it holds the splits train: name one, as all/train",
        "bad": r"bad/state\.json: no file names under _data_files",
        "empty": r"empty: a folder without data, expected one that `save_to_disk`",
        "lost": r"lost/data-00000-of-00001\.arrow: No such file",
    }.items():
        with pytest.raises(InputError, match=message):
            texts(tmp_path / name)


def test_a_table_without_ids_says_how_to_name_them(tmp_path):
    pq.write_table(TABLE.rename_columns(["key", "title", "text", "n"]), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet: the columns 'key, title, text, n', none of which is called _id"):
        texts(tmp_path / "c.parquet")


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_judgements_may_be_a_table_a_csv_or_json_lines(tmp_path, dtype):
    """BeIR's tables have whole numbers, those of MTEB the same numbers as floats."""
    frame = pd.DataFrame({"query-id": ["q1", "q2"], "corpus-id": [1, 2], "score": pd.Series([2, 0], dtype=dtype)})
    frame.to_parquet(tmp_path / "q.parquet")
    frame.to_json(tmp_path / "q.jsonl", orient="records", lines=True)
    frame.astype({"score": int}).rename(columns={"query-id": "qid", "corpus-id": "pid", "score": "label"}).to_csv(
        tmp_path / "q.csv", index=False
    )
    for name in ("q.parquet", "q.jsonl", "q.csv"):
        assert load_qrels(tmp_path / name) == {"q1": {"1": 2}, "q2": {"2": 0}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1,p1,1\n", ":1: the columns 'q1, p1, 1', none of which .*write names as in query-id, corpus-id, score"),
        ("qid,pid,score\nq1,p1,1.5\n", r":2: grade '1\.5', expected a whole number"),
        ("qid,pid\nq1,p1\n", ":2: grade None, expected a whole number"),
        ("qid,passage,score\nq1,p1,1\n", ":2: there is None, expected an id"),
    ],
)
def test_error_names_a_bad_judgement_of_a_csv(tmp_path, content, message):
    with pytest.raises(InputError, match=r"q\.csv" + message):
        load_qrels(write(tmp_path / "q.csv", content))

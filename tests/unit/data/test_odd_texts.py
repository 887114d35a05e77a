"""Misleading texts: headers, quotes, other encodings, ids that only look alike."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from led_pipeline.data import collection, pools
from led_pipeline.data.formats.characters import is_blank, look_alikes, spelled
from led_pipeline.data.formats.headers import is_header, is_quoted
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.formats.score_files import read_scores
from led_pipeline.data.formats.templates import Template
from led_pipeline.data.selection import Selection
from led_pipeline.data.tables import write_strings
from led_pipeline.files.errors import InputError


@pytest.fixture
def passages(tmp_path):
    """Prepare passages; return their ids and texts, and the provenance."""

    def call(content: str | bytes, *skip: str, titles: str | None = None, template: Template | None = None):
        encoded = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "c.tsv").write_bytes(encoded)
        (tmp_path / "t.tsv").write_text(titles or "")
        files = [tmp_path / "c.tsv"], tmp_path / "t.tsv" if titles else None
        record = collection.prepare_passages(*files, "msmarco", skip, tmp_path / "p.parquet", Repair(False), template)
        rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
        return [(row["id"], row["text"]) for row in rows], record

    return call


@pytest.fixture
def split(tmp_path, passages):
    """Prepare a split over given passages, queries and judgements; return the qrels and the provenance."""

    def call(texts: str, qrels: str, *skip: str, queries: str = "q1\tone\nq2\ttwo\n"):
        passages(texts)
        (tmp_path / "q.tsv").write_text(queries)
        (tmp_path / "r.tsv").write_text(qrels)
        files, out = ([tmp_path / "q.tsv"], [tmp_path / "r.tsv"], tmp_path / "p.parquet"), tmp_path / "out.qrels"
        outputs = tmp_path / "q.parquet", out
        record = collection.prepare_split(files, "msmarco", skip, Selection(), outputs, Repair(False))
        return out.read_text(), record

    return call


# --- headers


NAMES = ["pid\tpassage", "id\ttext", "_id\tcontents", "query_id\tquery", "docid\tbody", "#DocNo\tText"]
NAMES += ['"pid"\t"text"', "corpus-id\ttitle", "qid\tpid\tscore", "query_id\titer\tdoc_id\trelevance"]
NAMES += ["qid\tpositive\tnegative", "Query ID\tQ0\tDoc ID\tRel", "id\tquestion\tsim_score", "passage_id\tpassage_text"]
FIRST = ["wiki_id\twiki_text", "index\ttext", "query\tpassage", "topic no\ttopic title"]
OTHERS = ["0\ttext", "id\tWhat is a text?", "id", "pid\t", "q1\tp1\tscore", "id\t0\tpid\t1", "id\t0", "text\tmessage"]
OTHERS += ["a\tb", "acid\tdocument", "paid\tcontent", "id\ta text of words"]


@pytest.mark.parametrize("line", NAMES + FIRST + OTHERS)
def test_only_a_line_of_column_names_is_a_header(line):
    columns = line.split("\t")
    assert is_header(columns, 1) is (line not in OTHERS)
    assert is_header(columns, 2) is (line in NAMES)  # where files were joined, only what nothing else can be


def test_a_header_never_becomes_a_passage_a_query_or_a_title(tmp_path, passages, split):
    header = r"c\.tsv:1: the line reads 'pid TAB passage', names of columns.*dataset\.skip: \[header_line\]"
    with pytest.raises(InputError, match=header):
        passages("pid\tpassage\np1\tone\n")
    rows, record = passages("pid\tpassage\np1\tone\npid\tpassage\nindex\ttext\n", "header_line")
    assert rows == [("p1", "one"), ("index", "text")]
    assert record["skipped"] == {str(tmp_path / "c.tsv"): {"header_line": 2}}
    with pytest.raises(InputError, match=r"t\.tsv:1: the line reads 'pid TAB title TAB text'"):
        passages("p1\tone\n", titles="pid\ttitle\ttext\np1\tOne\tone\n")
    with pytest.raises(InputError, match=r"q\.tsv:1: the line reads 'qid TAB query'"):
        split("p1\tone\n", "q1 0 p1 1\n", queries="qid\tquery\nq1\tone\n")


@pytest.mark.parametrize("header", ["qid\tpid\tscore", "query_id\tpositive\tnegative\tmargin"])
def test_error_names_the_header_of_a_score_file(tmp_path, header):
    columns = header.count("\t") - 1
    (tmp_path / "s.tsv").write_text(f"{header}\nq1" + "".join(f"\tp{i}" for i in range(columns)) + "\t1.5\n")
    with pytest.raises(InputError, match=r"s\.tsv:1: the line reads .*names of columns, expected"):
        list(read_scores(tmp_path / "s.tsv"))


# --- quotes


@pytest.mark.parametrize(
    ("identifier", "text", "expected"),
    [
        ("1", '"a ""quoted"" word"', True),
        ('"1"', '"a"', True),
        ("1", '"yes" and "no"', False),
        ("1", '"a whole quote"', False),
        ("1", 'he said ""hi""', False),
        ("1", '"', False),
        ("1", '""', False),
    ],
)
def test_quotes_of_csv_are_distinguished_from_quotes_in_a_text(identifier, text, expected):
    assert is_quoted(identifier, text) is expected


def test_quoted_lines_are_read_literally_with_a_note(tmp_path, passages, capsys):
    rows, record = passages('p1\t"a ""quoted"" word"\np2\t"own"\n')
    assert rows == [("p1", '"a ""quoted"" word"'), ("p2", '"own"')]
    assert record["noted"] == {str(tmp_path / "c.tsv"): {"quoted_field": 1}}
    assert 'c.tsv: 1 line(s) quoted as CSV ("" for ")' in capsys.readouterr().out


def test_error_explains_a_quoted_text_with_a_line_break(passages):
    with pytest.raises(InputError, match=r"c\.tsv:2: 1 column\(s\).*; line 1 opens a quote, write a text without"):
        passages('p1\t"first line\nsecond line"\n')


# --- encodings


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32LE"),
        ("utf-32-be", "UTF-32BE"),
    ],
)
def test_error_names_another_encoding_and_how_to_convert_it(passages, encoding, name):
    with pytest.raises(InputError, match=rf"c\.tsv: {name} text, expected UTF-8.*`iconv -f {name} -t UTF-8 c\.tsv"):
        passages("p1\tone\np2\tzwei für Ärzte\n".encode(encoding), "bad_utf8")


def test_error_says_how_to_name_or_unpack_compressed_data(passages):
    packed = {
        "bzip2": bz2.compress(b"p1\tone\n"),
        "xz": lzma.compress(b"p1\tone\n"),
        "gzip": gzip.compress(b"p1\tone\n"),
    }
    packed |= {"zip": b"PK\x03\x04\x14\x00", "zstd": b"\x28\xb5\x2f\xfd\x04", "Parquet": b"PAR1\x15\x04"}
    for name, content in packed.items():
        with pytest.raises(
            InputError, match=rf"c\.tsv: {name} data, expected lines of text under this name; (unp|let)"
        ):
            passages(content, "bad_utf8")
    assert passages("PAR1\tone\nBZh\ttwo\n")[0] == [("PAR1", "one"), ("BZh", "two")]


def test_a_byte_order_mark_inside_a_file_is_dropped_with_a_note(tmp_path, split):
    qrels, record = split("p1\tone\n\ufeffp2\ttwo\n", "q1 0 p1 1\n\ufeffq2 0 p2 1\n")
    assert qrels == "q1\t0\tp1\t1\nq2\t0\tp2\t1\n"
    assert record["noted"] == {str(tmp_path / "r.tsv"): {"byte_order_mark": 1}}


# --- ids that look alike


@pytest.mark.parametrize(
    ("passage", "judged", "message"),
    [
        (
            "p1\u200b",
            "p1",
            r"passage 'p1' is judged but not in the collection, where 'p1\\u200b' \(U\+0070 U\+0031 U\+200B\)",
        ),
        (
            "e\u0301",
            "\u00e9",
            r"passage 'é' \(U\+00E9\) is judged .*, where '.*' \(U\+0065 U\+0301\) is; write ids",
        ),
        ("P1", "p1", "passage 'p1' is judged but not in the collection, where 'P1' is; write ids in one way"),
        ("7", "007", "passage '007' is judged but not in the collection, where '7' is; write ids in one way"),
        ("7", "7.0", "passage '7.0' is judged but not in the collection, where '7' is"),
        ("p2", "p1", "passage 'p1' is judged but not in the collection, expected its text there"),
    ],
)
def test_error_spells_out_ids_that_look_alike(split, passage, judged, message):
    with pytest.raises(InputError, match=message):
        split(f"{passage}\tone\n", f"q1 0 {judged} 1\n")


def test_look_alike_ids_of_queries_are_spelled_out_and_noted_if_skipped(tmp_path, split):
    texts, qrels = "p1\tone\n", "q\u0301 0 p1 1\nq1\ufeff 0 p1 1\nq2 0 p1 1\n"
    with pytest.raises(
        InputError, match=r"query 'q1\\ufeff' \(U\+0071 U\+0031 U\+FEFF\) is judged but not among the queries, where"
    ):
        split(texts, qrels.split("\n", 1)[1])
    _, record = split(texts, qrels, "qrel_without_query")
    assert record["noted"] == {str(tmp_path / "r.tsv"): {"look_alike": 1}}


def test_unknown_queries_of_a_file_are_counted(tmp_path, capsys):
    write_strings(tmp_path / "p.parquet", [{"id": ["p"]}], ["id"])
    write_strings(tmp_path / "q.parquet", [{"id": ["1", "q2"]}], ["id"])
    (tmp_path / "n.tsv").write_text("1\tp\n1.0\tp\nq3\tp\nq3\tp\nQ2\tp\n")
    files = tmp_path / "n.tsv", tmp_path / "q.parquet", tmp_path / "p.parquet", tmp_path
    assert [query for query, _, _ in pools.published(*files)] == [0]
    note = "n.tsv: 3 queries dropped, since they are not in the dataset; 2 of them are in it with another spelling ('"
    assert note in capsys.readouterr().out


def test_look_alike_ids_of_published_negatives_are_spelled_out(tmp_path):
    write_strings(tmp_path / "p.parquet", [{"id": ["e\u0301"]}], ["id"])
    write_strings(tmp_path / "q.parquet", [{"id": ["q1"]}], ["id"])
    (tmp_path / "n.tsv").write_text("q1\t\u00e9\n")
    with pytest.raises(
        InputError, match=r"n\.tsv: passage 'é' \(U\+00E9\) of query 'q1' is not .* \(U\+0065 U\+0301\)"
    ):
        list(pools.published(tmp_path / "n.tsv", tmp_path / "q.parquet", tmp_path / "p.parquet", tmp_path))


def test_ids_look_alike_if_their_visible_characters_agree():
    others = ["x", "A\u00adB", "ﬁn", "straße", "\uff30\uff11"]  # a soft hyphen, a ligature, full width
    pairs = {"ab": "A\u00adB", "FIN": "ﬁn", "strasse": "straße", "p1": "\uff30\uff11"}
    assert look_alikes(["ab", "FIN", "strasse", "p1", "y"], others) == pairs
    assert spelled("a-1") == "'a-1'" and spelled("模") == "'模' (U+6A21)"
    assert spelled("\u00e9" * 30).endswith("U+00E9 ...)")


def test_titles_whose_ids_only_look_like_a_passages_are_noted(tmp_path, passages):
    _, record = passages("p1\tone\n2\ttwo\n", titles="p1\tOne\n2.0\tTwo\nx\tOther\n")
    assert record["counts"]["titles_without_passage"] == 2
    assert record["noted"] == {str(tmp_path / "t.tsv"): {"look_alike": 1}}


def test_titles_of_another_collection_are_an_error(passages):
    with pytest.raises(
        InputError, match=r"t\.tsv: none of its 2 ids is in .*c\.tsv; take the titles of this collection"
    ):
        passages("p1\tone\n", titles="0\tOne\n1\tTwo\n")


# --- texts that show nothing


@pytest.mark.parametrize("text", ["", " \u00a0", "\x00", "\x01\x02", "\u200b", "\u00ad\ufeff", "\u2028\x85\t"])
def test_a_text_of_invisible_characters_is_blank(text):
    assert is_blank(text) and not is_blank(f"{text}.")


@pytest.mark.parametrize("text", ["?", "\u0e01", "क़", "\U0001f600", "\ufffd"])
def test_a_text_with_a_visible_character_is_not_blank(text):
    assert not is_blank(text)


def test_a_passage_of_control_characters_is_an_empty_text(tmp_path, passages):
    with pytest.raises(InputError, match=r"c\.tsv:2: the text of 'p2' shows nothing \('\\x01\\x02'\).*\[empty_text\]"):
        passages("p1\tone\np2\t\x01\x02\np3\t\x00\n")
    rows, record = passages("p1\tone\x00\x01\np2\t\x01\x02\np3\t\x00\n", "empty_text")
    assert rows == [("p1", "one\x00\x01")]
    assert record["skipped"] == {str(tmp_path / "c.tsv"): {"empty_text": 2}}


def test_a_template_without_visible_output_is_an_empty_text(tmp_path, passages):
    template = Template("{title}", "empty")
    with pytest.raises(
        InputError, match=r"c\.tsv:2: the text of 'p2' is empty, expected some text after dataset\.templ"
    ):
        passages("p1\tone\np2\ttwo\n", titles="p1\tOne\n", template=template)
    rows, record = passages("p1\tone\np2\ttwo\n", "empty_text", titles="p1\tOne\n", template=template)
    assert rows == [("p1", "One")] and record["counts"]["passages"] == 1
    with pytest.raises(InputError, match="no passage in it"):
        passages("p2\ttwo\n", "empty_text", titles="p2\t\n", template=template)


def test_a_beir_document_of_control_characters_is_an_empty_text(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps({"_id": "a", "title": "\x00", "text": "\u200b"}) + "\n")
    with pytest.raises(InputError, match=r"corpus\.jsonl:1: the title and the text of 'a' are empty"):
        collection.prepare_passages([path], None, "beir", (), Path(tmp_path / "p.parquet"), Repair(False))

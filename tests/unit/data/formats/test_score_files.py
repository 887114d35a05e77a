import gzip
import json
import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from led_pipeline.data.formats import score_pairs
from led_pipeline.data.formats.score_files import read_scores
from led_pipeline.data.formats.score_pairs import solve
from led_pipeline.files.errors import InputError

SCORES = {"1048585": {"7187158": 9.5, "7187157": -3.25}, "2": {"0": 1.5}}
EXPECTED = [("1048585", ["7187158", "7187157"], [9.5, -3.25]), ("2", ["0"], [1.5])]
BY_NUMBER = {int(q): {int(p): s for p, s in scores.items()} for q, scores in SCORES.items()}
ROWS = [(q, p, s) for q, scores in SCORES.items() for p, s in scores.items()]


def write(path: Path, content: bytes | str) -> Path:
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def lines(*records: dict) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


# --- one content in every format

RUN = "".join(f"{q} Q0 {p} {i} {s} cross\n" for i, (q, p, s) in enumerate(ROWS, 1))
NUMPY = {q: {p: np.float32(s) for p, s in scores.items()} for q, scores in BY_NUMBER.items()}
FILES = {
    "cross.pkl.gz": pickle.dumps(BY_NUMBER),
    "cross.pkl": pickle.dumps(SCORES),
    "old.pickle": pickle.dumps(SCORES, protocol=0),
    "cross.json": json.dumps(SCORES),
    "cross.json.gz": json.dumps(SCORES),
    "lists.jsonl": lines(*({"query": q, "docs": list(s), "scores": list(s.values())} for q, s in SCORES.items())),
    "grouped.jsonl.gz": lines(*({"qid": q, "docid": list(s), "score": list(s.values())} for q, s in SCORES.items())),
    "run.trec": RUN,
    "run.txt.gz": RUN,
    "three.tsv": "".join(f"{q}\t{p}\t{s}\n" for q, p, s in ROWS),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_scores(tmp_path, name):
    assert list(read_scores(write(tmp_path / name, FILES[name]))) == EXPECTED


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_may_hold_numpy_numbers_and_other_dicts(tmp_path, protocol):
    content = defaultdict(dict, {q: OrderedDict(s) for q, s in NUMPY.items()})
    assert list(read_scores(write(tmp_path / "a.pkl", pickle.dumps(content, protocol)))) == EXPECTED


def test_numpy_integers_are_ids_too(tmp_path):
    content = {np.int64(q): {np.int32(p): np.float16(s) for p, s in scores.items()} for q, scores in BY_NUMBER.items()}
    assert list(read_scores(write(tmp_path / "a.pkl", pickle.dumps(content)))) == EXPECTED


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.int64(), pa.int32()])
def test_parquet_may_hold_strings_or_integers(tmp_path, kind):
    columns = {name: [row[i] for row in ROWS] for i, name in enumerate(["query", "passage", "score"])}
    table = pa.table({name: pa.array(columns[name]).cast(kind) for name in ("query", "passage")})
    table = table.append_column("score", pa.array(columns["score"], type=pa.float32()))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert list(read_scores(tmp_path / "a.parquet")) == EXPECTED


def test_margins_put_the_positive_at_zero(tmp_path):
    pairs = [("q", "a", "b", 2.5), ("q", "a", "c", -1.0), ("r", "x", "y", 0.5)]
    records = [{"query": q, "positive": p, "negative": n, "score": s} for q, p, n, s in pairs]
    queries = list(read_scores(write(tmp_path / "a.jsonl", lines(*records))))
    assert queries == [("q", ["a", "b", "c"], [0.0, -2.5, 1.0]), ("r", ["x", "y"], [0.0, -0.5])]


GPL = [("r", "x", "y", 0.5), ("q", "a", "b", 2.5), ("r", "x", "z", -2.0), ("q", "a", "c", -1.0)]


@pytest.mark.parametrize("name", ["gpl-training-data.tsv", "pairs.tsv.gz"])
def test_lines_of_pairs_may_come_in_any_order(tmp_path, monkeypatch, name):
    expected = [("r", ["x", "y", "z"], [0.0, -0.5, 2.0]), ("q", ["a", "b", "c"], [0.0, -2.5, 1.0])]
    text = "".join("\t".join(map(str, row)) + "\n" for row in GPL)
    assert list(read_scores(write(tmp_path / name, text))) == expected
    monkeypatch.setattr(score_pairs, "CHUNK", 1)
    assert list(read_scores(write(tmp_path / name, text))) == expected


def test_margins_of_positives_with_a_common_negative_keep_every_gap(tmp_path):
    scores = {"a": 3.0, "b": 5.5, "n": -1.25, "m": 0.5}
    pairs = [("a", "n"), ("b", "n"), ("b", "m"), ("a", "m"), ("b", "a")]
    records = [{"query": "q", "positive": p, "negative": n, "score": scores[p] - scores[n]} for p, n in pairs]
    [(_, pids, values)] = read_scores(write(tmp_path / "a.jsonl", lines(*records)))
    assert dict(zip(pids, values, strict=True)) == {pid: score - 3.0 for pid, score in scores.items()}


def test_pairs_that_do_not_connect_each_have_a_positive_at_0():
    assert solve([("a", "n", 2.0), ("b", "m", 3.0), ("c", "m", 1.0)]) == (
        ["a", "n", "b", "m", "c"],
        [0.0, -2.0, 0.0, -3.0, -2.0],
    )


def test_margins_that_contradict_each_other_have_the_least_squared_error():
    random = np.random.default_rng(0)
    names = [f"p{i}" for i in range(12)]
    pairs = [(*random.choice(names, 2, replace=False).tolist(), float(random.normal())) for _ in range(60)]
    pids, scores = solve(pairs)
    design = np.zeros((60, 12))
    for row, (positive, negative, _) in zip(design, pairs, strict=True):
        row[pids.index(positive)], row[pids.index(negative)] = 1, -1
    best = np.linalg.lstsq(design, [m for *_, m in pairs], rcond=None)[0]
    np.testing.assert_allclose(scores, best - best[0], atol=1e-6)
    assert solve([("a", "n", 1.0), ("a", "n", 2.0)]) == (["a", "n"], [0.0, -1.5])


# --- pickles that ask for more


class Command:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Imported:
    def __reduce__(self):
        return __import__, ("antigravity",)


@pytest.mark.parametrize("name", ["bad.pkl", "bad.pkl.gz"])
@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path, name, protocol):
    content = {"q": {"p": 1.0}, "r": Command(f"touch {tmp_path}/ran")}
    path = write(tmp_path / name, pickle.dumps(content, protocol))
    with pytest.raises(InputError, match=r"asks for \w+\.system, expected a pickle of dicts.*nothing of it was run"):
        list(read_scores(path))
    assert not (tmp_path / "ran").exists()
    os.system(f"touch {tmp_path}/ran")
    assert (tmp_path / "ran").exists(), "the same command would have run"


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (Imported(), "builtins.__import__"),
        (Path("x"), "pathlib"),
        (np.zeros(2), "a tuple among its values, such as arrays"),
        ({1, 2}, "the operation EMPTY_SET"),
        (np.str_("x"), "U1"),
        (np.datetime64("2020-01-01"), "a tuple among its values, such as arrays and dates"),
        (b"bytes", "has b'bytes'"),
    ],
)
def test_a_pickle_of_anything_but_dicts_and_numbers_is_refused(tmp_path, value, fault):
    with pytest.raises(InputError, match=fault):
        list(read_scores(write(tmp_path / "a.pkl", pickle.dumps({"q": value}))))


def test_a_number_type_cannot_be_turned_into_another(tmp_path):
    """The state of a numpy type is data of the pickle, so it must not name a type that we did not check."""
    hostile = b"cnumpy\ndtype\n(S'O8'\nI00\nI01\ntR."
    with pytest.raises(InputError, match="'O8'"):
        list(read_scores(write(tmp_path / "a.pkl", hostile)))


@pytest.mark.parametrize("keep", [0, 1, 40])
def test_a_pickle_that_is_cut_off_is_refused(tmp_path, keep):
    for name in ("a.pkl", "a.pkl.gz"):
        path = write(tmp_path / name, pickle.dumps(BY_NUMBER))
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(InputError, match=rf"{name}"):
            list(read_scores(path))


# --- what is wrong is said


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "1,2,3\n", "no format of scores has this ending, expected one of .pkl"),
        ("a.json", "[1]", "it holds a list, expected {query id"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", '{"q": [1]}', "query 'q' has \\[1\\]"),
        ("a.json", '{"q": {"p": "high"}}', "query 'q': score 'high', expected a number"),
        ("a.json", '{"q": {"p": NaN}}', "query 'q': the score is nan, expected a finite number"),
        ("a.json", '{"a b": {"p": 1}}', "a query is 'a b', expected an id"),
        ("a.jsonl", '{"query": "q", "docs": ["a"], "scores": [1, 2]}\n', ":1: .*lists of equal length"),
        ("a.jsonl", '{"query": "q", "docs": ["a"], "scores": [1]}\n{"query"\n', ":2: not valid JSON"),
        ("a.jsonl", lines(*[{"query": q, "docs": ["a"], "scores": [1]} for q in "qrq"]), "query 'q' comes again"),
        ("a.jsonl", lines({"query": "q", "docs": ["a", "a"], "scores": [1, 2]}), "a passage of query 'q' comes twice"),
        ("a.tsv", "q\tp\t1\nq\tr\n", ":2: .*expected 3 columns"),
        ("a.tsv", "q\tp\tinf\n", ":1: the score is inf, expected a finite number"),
        ("a.tsv", "q\tp\tn\t1\nq\tp\t1\n", ":2: .*expected 4 columns"),
        ("a.tsv", "q\tp\tn\tx\n", ":1: score 'x', expected a number .4 columns"),
        ("a.tsv", "q\tp\tn\t1\nq\tp\tp\t1\n", ":2: passage 'p' is paired with itself"),
        ("a.jsonl", lines({"query": "q", "positive": "a", "negative": "a", "score": 1}), ":1: .*paired with itself"),
        ("a.trec", "q Q0 p 1\n", ":1: 4 column"),
        ("a.parquet", "text", "expected a Parquet file with the columns query, passage, score"),
    ],
)
def test_error_names_the_fault_in_a_score_file(tmp_path, name, content, sentence):
    with pytest.raises(InputError, match=sentence):
        list(read_scores(write(tmp_path / name, content)))


def test_a_parquet_file_without_a_column_or_with_odd_ids_is_refused(tmp_path):
    pq.write_table(pa.table({"query": ["q"], "docid": ["p"], "score": [1.0]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no column passage"):
        list(read_scores(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"query": [1.5], "passage": ["p"], "score": [1.0]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="ids of the types double and string"):
        list(read_scores(tmp_path / "a.parquet"))

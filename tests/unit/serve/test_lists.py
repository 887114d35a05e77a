"""Differences, trainsets and nearest passages, against brute force."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from page_run import MEASURED, write_run

from led_pipeline.data.examples import Trainset
from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.tables import Ragged, write_matrix
from led_pipeline.files.errors import InputError
from led_pipeline.serve import drawn, nearest
from led_pipeline.serve.differences import Comparison, Differences, page
from led_pipeline.serve.drawn import Use, drawn_for
from led_pipeline.serve.once import Once
from led_pipeline.serve.splits import Queries
from led_pipeline.serve.tabular import Judgements, read_measures

rng = np.random.default_rng(3)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "small")


def test_values_belong_to_their_queries_whatever_the_order_of_the_file(layout):
    path = Path(layout.measures_per_query("lex", "dev"))
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines[5:]), "unknown\t" + lines[0].partition("\t")[2]]) + "\n")
    queries, differences = Queries("dev", layout, 1), Differences(layout, 100)
    compared = differences.compare("lex", "den", "MRR@10", queries)
    np.testing.assert_allclose(compared.a[5:], MEASURED["lex"][5:], atol=1e-6)
    assert np.isnan(compared.a[:5]).all()
    assert page(queries, compared, "difference", "", 1).lines[0].a is not None, "queries without a value come last"
    assert page(queries, compared, "first", "", 99).lines[-1].a is None
    assert sum(compared.counts) == len(queries.ids) - 5


def test_measures_deeper_than_the_runs_are_not_offered(layout):
    queries = Queries("dev", layout, 1)
    offered = Differences(layout, 100).measures("bm25", "den", queries)
    assert offered[:2] == ["nDCG@10", "MRR@10"] and "recall@100" in offered and "recall@1000" not in offered
    assert "recall@1000" in Differences(layout, 1000).measures("bm25", "den", queries)


@pytest.mark.parametrize(
    ("order", "key"), [("difference", lambda d: -abs(d)), ("first", lambda d: d), ("second", lambda d: -d)]
)
def test_orders_equal_a_stable_sort(order, key):
    a, b = (rng.integers(0, 4, 200).astype(np.float32) / 4 for _ in "ab")
    rows = Comparison(a, b).order(order).tolist()
    assert rows == sorted(range(200), key=lambda row: key(float(b[row] - a[row])))


def test_a_hundred_thousand_queries_are_sorted_and_filtered_fast(layout):
    queries = Queries("dev", layout, 1)
    queries.ids, queries.texts = [f"q{i}" for i in range(100_000)], [f"query number {i}" for i in range(100_000)]
    compared = Comparison(*(rng.random(100_000, dtype=np.float32) for _ in "ab"))
    page(queries, compared, "difference", "number 77", 1)
    started = time.thread_time()  # of this thread, whatever else the machine does
    third = page(queries, compared, "difference", "number 77", 3)
    assert time.thread_time() - started < 1
    assert third.matching == sum("77" in str(i) for i in range(100_000)) and len(third.lines) == 50


def trainset(folder, examples=500, candidates=4, passages=60):
    query = rng.integers(0, 40, examples).astype(np.int32)
    rows = [rng.choice(passages, candidates, replace=False) for _ in range(examples)]
    Trainset(query, Ragged.from_rows(rows, np.int32), examples).write(folder / "drawn.arrow")
    return query, rows


def test_the_queries_of_a_passage_are_those_of_a_loop_over_all_examples(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "BLOCK", 77)  # a list is cut by the end of a block
    queries, rows = trainset(tmp_path)
    for passage in (0, 17, 59, 60):
        positive = Counter(int(q) for q, row in zip(queries, rows, strict=True) if row[0] == passage)
        negative = Counter(int(q) for q, row in zip(queries, rows, strict=True) if passage in row[1:])
        result = drawn_for(tmp_path / "drawn.arrow", "led", passage)
        assert result.positive == [Use(*each) for each in positive.most_common()]
        assert result.negative == [Use(*each) for each in negative.most_common()]
        assert result.share == 1


def test_a_search_that_takes_too_long_says_how_much_it_saw(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "BLOCK", 200)
    trainset(tmp_path)
    result = drawn_for(tmp_path / "drawn.arrow", "led", 3, seconds=0)
    assert result.share == 0.1


def test_nearest_passages_equal_a_sort_of_all_products(tmp_path, monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK", 7)
    vectors = rng.normal(size=(50, 6)).astype(np.float16)
    vectors[31] = vectors[30]  # a tie
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    write_matrix(paths[0], vectors[:30])
    write_matrix(paths[1], vectors[30:])
    for row in (0, 29, 30, 49):
        products = vectors.astype(np.float32) @ vectors[row].astype(np.float32)
        expected = [other for other in np.lexsort((np.arange(50), -products)) if other != row][:5]
        result = nearest.nearest(paths, "den", row, 5)
        assert result.rows == expected and (result.compared, result.passages) == (50, 50)
        np.testing.assert_allclose(result.similarities, products[expected], rtol=1e-5)
    assert nearest.nearest(paths, "den", 50, 5) is None
    assert nearest.nearest(paths, "den", 3, 5, seconds=0).compared == 7


def test_a_value_is_computed_once_by_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    computed = []
    once = Once(lambda key: (time.sleep(0.02), computed.append(key), key * 2)[2])
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(once, [1, 2] * 8)) == [2, 4] * 8
    assert sorted(computed) == [1, 2]


def test_judgements_are_those_of_the_strict_reader(layout, tmp_path):
    path = tmp_path / "dev.qrels"
    path.write_text('q1\t0\tp"1\t2\nq1\t0\tNA\t0\nNULL\t0\tp1\t-1\n007\t0\tp"1\t1\n')
    strict = load_qrels(path)
    table = Judgements.read(path)
    for qid in (*strict, "q2"):
        assert table.of_query(qid) == strict.get(qid, {})
    assert table.of_passage('p"1') == [("q1", 2), ("007", 1)]
    path.write_text("q1 0 p1 1\n")
    assert Judgements.read(path).of_query("q1") == {"p1": 1}, "blanks are TREC's, too"
    path.write_text("q1\t0\tp1\n")
    with pytest.raises(InputError, match=r"dev\.qrels:1"):
        Judgements.read(path)
    assert Judgements.read(tmp_path / "none.qrels").of_query("q1") == {}


@pytest.mark.parametrize("value", ["nan", "1.5", "-0.1", "", "x"])
def test_a_value_that_is_no_measure_is_an_error(tmp_path, value):
    path = tmp_path / "m.tsv"
    path.write_text(f"qid\tMRR@10\n1\t0.5\n2\t{value}\n")
    with pytest.raises(InputError, match=r"m\.tsv"):
        read_measures(path)
    path.write_text("qid\tMRR@10\n1\t0.5\n02\t1\n")
    ids, values = read_measures(path)
    assert ids == ["1", "02"] and values["MRR@10"].tolist() == [0.5, 1.0]

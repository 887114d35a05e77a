import math

import numpy as np
import pytest
import pytrec_eval

from led_pipeline.data.formats.judgements import (
    load_qrels,
    read_negatives,
    read_qrels,
    read_run,
    strictly_decreasing,
    write_qrels,
    write_run,
)
from led_pipeline.data.formats.lines import Problems
from led_pipeline.files.errors import InputError

BEIR_HEADER = "query-id\tcorpus-id\tscore\n"
LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(
    "content",
    ["q1\t0\tp1\t1\nq1\t0\tp2\t0\nq2\t0\tp1\t-2\n", "q1 0 p1 1\nq1 Q0  p2 0\nq2\t0 p1 -2\n"],
)
def test_trec_qrels_have_four_columns_between_any_white_space(tmp_path, content):
    (tmp_path / "qrels").write_text(content)
    assert load_qrels(tmp_path / "qrels") == {"q1": {"p1": 1, "p2": 0}, "q2": {"p1": -2}}


def test_beir_qrels_have_three_columns_under_their_header(tmp_path):
    (tmp_path / "test.tsv").write_text(BEIR_HEADER + "q1\tp1\t2\nq1\tp2\t0\n")
    assert list(read_qrels(tmp_path / "test.tsv", Problems())) == [(2, "q1", "p1", 2), (3, "q1", "p2", 0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1\t0\tp1\t1\nq1\tp2\t1\n", r":2: 3 column\(s\), expected 4: qid 0 pid grade"),
        (BEIR_HEADER + "q1\t0\tp2\t1\n", r":2: 4 column\(s\), expected 3 between tabs, as in the header"),
        ("q1\t0\t1\nq1\tp1\t1\n", r":1: 3 column\(s\), .*query-id TAB corpus-id TAB score in line 1.*1 more malformed"),
        ("q1\t0\tp1\tyes\n", ":1: grade 'yes', expected a whole number"),
        ("q1\t0\tp1\t1.0\n", ":1: grade '1.0'"),
        ("q1\t0\tp1\t1_0\n", ":1: grade '1_0'"),
        ("query\tdoc\trelevance\nq1\tp1\t1\n", r":1: 3 column\(s\), .*in BEIR's format, the header query-id"),
        ("query_id\titer\tdoc_id\trelevance\nq1\t0\tp1\t1\n", r":1: the line reads 'query_id TAB iter .*header_line"),
        (BEIR_HEADER + "q 1\tp1\t1\n", ":2: there is 'q 1', expected an id"),
        (BEIR_HEADER + "q1\t\t1\n", ":2: there is '', expected an id"),
        (
            "q1\t0\tp1\t1\nq2\t0\tp1\t1\nq1\t0\tp1\t0\n",
            r":3: query 'q1' and passage 'p1' have grade 0 here and 1 in line 1, expected one grade.*duplicate_id",
        ),
    ],
)
def test_error_names_a_bad_judgement(tmp_path, content, message):
    (tmp_path / "qrels").write_text(content)
    with pytest.raises(InputError, match="qrels" + message):
        load_qrels(tmp_path / "qrels")


@pytest.mark.parametrize("again", ["q1 0 p1 1\n", "q1 Q0 p1 01\r\n"])
def test_a_judgement_that_is_repeated_word_for_word_counts_once_and_is_noted(tmp_path, again):
    (tmp_path / "qrels").write_text("q1 0 p1 1\nq2 0 p1 1\n" + 2 * again)
    problems = Problems()
    assert list(read_qrels(tmp_path / "qrels", problems)) == [(1, "q1", "p1", 1), (2, "q2", "p1", 1)]
    problems.check()
    assert problems.noted == {str(tmp_path / "qrels"): {"repeated_judgement": 2}} and not problems.skipped
    assert load_qrels(tmp_path / "qrels") == {"q1": {"p1": 1}, "q2": {"p1": 1}}


def test_the_first_of_two_judgements_counts_when_duplicates_are_skipped(tmp_path):
    (tmp_path / "qrels").write_text("q1 0 p1 1\nq1 0 p1 0\n")
    problems = Problems(["duplicate_id"])
    assert list(read_qrels(tmp_path / "qrels", problems)) == [(1, "q1", "p1", 1)]
    assert problems.skipped == {str(tmp_path / "qrels"): {"duplicate_id": 1}}


def test_of_several_contradictions_the_first_is_told_with_its_lines_and_all_are_counted(tmp_path):
    rows = ["q1 0 p1 1", "q1 0 p2 1", "malformed", "q1 0 p2 1", "q1 0 p2 2", "q1 0 p1 0", "q1 0 p2 3"]
    (tmp_path / "qrels").write_text("".join(f"{row}\n" for row in [*rows[:2], *rows[3:], rows[2]]))
    first = r"qrels:4: query 'q1' and passage 'p2' have grade 2 here and 1 in line 2, expected one grade"
    with pytest.raises(InputError, match=first + r".*besides this line: 2 more duplicate_id, 1 malformed"):
        load_qrels(tmp_path / "qrels")
    problems = Problems(["duplicate_id"])
    assert len(list(read_qrels(tmp_path / "qrels", problems))) == 2
    assert problems.skipped == {str(tmp_path / "qrels"): {"duplicate_id": 3}}


def test_written_qrels_are_tab_separated_and_read_back(tmp_path):
    write_qrels(tmp_path / "qrels", [("q1", "p1", 3), ("q2", "p1", 0)])
    assert (tmp_path / "qrels").read_text() == "q1\t0\tp1\t3\nq2\t0\tp1\t0\n"
    assert load_qrels(tmp_path / "qrels") == {"q1": {"p1": 3}, "q2": {"p1": 0}}


@pytest.mark.parametrize(
    "scores",
    [
        [3.0, 2.0, 2.0, 2.0, 1.0],
        [1.0, 1.0, float(np.nextafter(np.float32(1), np.float32(0))), 0.5],  # lowering a tie makes the next one
        [0.0, -0.0, 0.0, -1e-45],
        [1e-45] * 4,
        [-5.5, -5.5, -5.5],
        [3.4e38, 3.4e38, -3.4e38, -3.4e38],
        [16777217.0, 16777216.0, 16777215.5],  # distinct as doubles, equal in 32 bits
        [7.0],
        [],
    ],
)
def test_ties_are_lowered_to_the_next_smaller_float_and_all_else_stays(scores):
    expected: list[np.float32] = []
    for score in scores:
        lower = np.nextafter(expected[-1], np.float32(-np.inf)) if expected else np.float32(np.inf)
        expected.append(min(np.float32(score), lower))
    got = strictly_decreasing(scores)
    assert got.dtype == np.float32
    assert got.tolist() == [float(score) for score in expected]


def test_ties_are_lowered_like_a_loop_over_nextafter_would():
    scores = np.sort(np.random.default_rng(0).integers(-3, 4, size=300).astype(np.float32) / 7)[::-1]
    expected = scores.copy()
    for i in range(1, len(scores)):
        expected[i] = min(scores[i], np.nextafter(expected[i - 1], np.float32(-np.inf)))
    np.testing.assert_array_equal(strictly_decreasing(scores), expected)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0, math.nan], "score nan is not finite"),
        ([math.inf, 1.0], "score inf is not finite"),
        ([1e39, 1.0], r"score 1e\+39 is not finite in 32 bits"),
        ([LOWEST, LOWEST], "no room below"),
        ([1.0, 2.0], "higher than the one before"),
    ],
)
def test_scores_that_cannot_be_put_in_order_publish_no_run(tmp_path, scores, message):
    with pytest.raises(InputError, match=r"x\.trec: query 'q': .*" + message):
        write_run(tmp_path / "x.trec", [("q", ["a", "b"], scores)], "x")
    assert list(tmp_path.iterdir()) == []


def test_the_lowest_float_itself_can_be_written(tmp_path):
    assert strictly_decreasing([0.0, LOWEST]).tolist() == [0.0, LOWEST]


def test_a_run_has_six_columns_and_ranks_from_one(tmp_path):
    write_run(tmp_path / "x.trec", [("q1", ["a", "b"], [2.5, -1.0]), ("q2", [], []), ("q3", ["a"], [0.0])], "bm25")
    assert (tmp_path / "x.trec").read_text() == "q1 Q0 a 1 2.5 bm25\nq1 Q0 b 2 -1 bm25\nq3 Q0 a 1 0 bm25\n"


def test_printed_scores_are_the_same_32_bit_floats(tmp_path):
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, size=20_000, dtype=np.uint32).view(np.float32)
    scores = np.unique(np.concatenate([bits[np.isfinite(bits)], np.float32([1e-45, -1e-45, 0.1, 1 / 3])]))[::-1]
    pids = [str(i) for i in range(len(scores))]
    write_run(tmp_path / "x.trec", [("q", pids, scores)], "x")
    [(qid, read_pids, read_scores)] = read_run(tmp_path / "x.trec")
    assert (qid, read_pids) == ("q", pids)
    np.testing.assert_array_equal(np.float32(read_scores), scores)


def test_trec_eval_keeps_the_order_of_tied_passages(tmp_path):
    pids = ["z", "a", "m", "b"]  # trec_eval alone would put tied ids in the order z, m, b, a
    for scores in ([1.0] * 4, [0.0] * 4, [-2.0] * 4, [1e30] * 4):
        write_run(tmp_path / "x.trec", [("q", pids, scores)], "x")
        run = {qid: dict(zip(pids, values, strict=True)) for qid, pids, values in read_run(tmp_path / "x.trec")}
        for rank, pid in enumerate(pids, start=1):
            measured = pytrec_eval.RelevanceEvaluator({"q": {pid: 1}}, {"recip_rank"}).evaluate(run)
            assert measured["q"]["recip_rank"] == pytest.approx(1 / rank)


@pytest.mark.parametrize("rankings", [[("q", ["a", "a"], [2, 1])], [("q", ["a"], [1]), ("q", ["b"], [1])]])
def test_a_run_names_each_query_and_passage_once(tmp_path, rankings):
    with pytest.raises(InputError, match=r"x\.trec: query 'q' .*twice"):
        write_run(tmp_path / "x.trec", rankings, "x")
    assert list(tmp_path.iterdir()) == []


def test_a_run_tag_is_one_word_and_scores_match_passages(tmp_path):
    with pytest.raises(ValueError, match="tag"):
        write_run(tmp_path / "x.trec", [], "two words")
    with pytest.raises(ValueError, match="zip"):
        write_run(tmp_path / "x.trec", [("q", ["a", "b"], [1.0])], "x")


def test_a_run_is_read_in_the_order_of_its_lines(tmp_path):
    (tmp_path / "x.trec").write_text("q2 Q0 b 1 2.5 x\nq2\tQ0\ta\t2\t2.5\tx\nq1 0 c 9 -1e3 x\n")
    assert list(read_run(tmp_path / "x.trec")) == [("q2", ["b", "a"], [2.5, 2.5]), ("q1", ["c"], [-1000.0])]


def test_an_empty_run_has_no_queries(tmp_path):
    (tmp_path / "x.trec").write_text("")
    assert list(read_run(tmp_path / "x.trec")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q Q0 a 1 2.5\n", r":1: 5 column\(s\), expected 6: qid Q0 pid rank score tag"),
        ("q Q0 a 1 x x\n", ":1: score 'x', expected a number"),
        ("q Q0 a 1 nan x\n", ":1: the score is nan"),
        ("q Q0 a 1 2 x\nq Q0 a 2 1 x\n", ":1: a passage of query 'q' comes twice"),
        ("q Q0 a 1 1 x\nq Q0 b 2 2 x\n", ":1: the scores of query 'q' rise"),
        ("q Q0 a 1 1 x\nr Q0 a 1 1 x\nq Q0 b 2 1 x\n", ":3: query 'q' comes again"),
    ],
)
def test_error_names_a_bad_run_line(tmp_path, content, message):
    (tmp_path / "x.trec").write_text(content)
    with pytest.raises(InputError, match=r"x\.trec" + message):
        list(read_run(tmp_path / "x.trec"))


def test_negatives_come_as_lists(tmp_path):
    (tmp_path / "n.tsv").write_text("1\t9,8,7,8\n2\t5\n")
    assert list(read_negatives(tmp_path / "n.tsv")) == [("1", ["9", "8", "7"]), ("2", ["5"])]


def test_negatives_come_as_triples_whose_positives_are_ignored(tmp_path):
    (tmp_path / "t.tsv").write_text("1\t3\t9\n1\t3\t8\n1\t4\t9\n2\t3\t5\n1\t3\t7\n")
    assert list(read_negatives(tmp_path / "t.tsv")) == [("1", ["9", "8"]), ("2", ["5"]), ("1", ["7"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\t2,3\n1\t2\t3\n", r":2: 3 column\(s\), expected 2: qid TAB pid,pid,..."),
        ("1\t2\t3\n1\t2,3\n", r":2: 2 column\(s\), expected 3: qid TAB positive TAB negative"),
        ("1\n", r":1: 1 column\(s\), expected 2"),
        ("1\t2,,3\n", ":1: there is '', expected an id"),
        ("1\t\n", ":1: there is '', expected an id"),
        ("1\t2, 3\n", ":1: there is ' 3'"),
        ("qid\tpositive\tnegative\n1\t2\t3\n", ":1: the line reads 'qid TAB positive TAB negative', names of columns"),
        ("qid\tnegatives\n1\t2,3\n", ":1: the line reads 'qid TAB negatives'"),
    ],
)
def test_error_names_bad_negatives(tmp_path, content, message):
    (tmp_path / "n.tsv").write_text(content)
    with pytest.raises(InputError, match=r"n\.tsv" + message):
        list(read_negatives(tmp_path / "n.tsv"))

"""Active terms and FLOPS of stored vectors, against counts over dense matrices."""

import json
import subprocess
import sys

import numpy as np
import pytest

from led_pipeline.data.tables import Ragged, write_arrow
from led_pipeline.evaluation import sparsity as evaluate_sparsity
from led_pipeline.evaluation.sparsity import sparsity
from led_pipeline.report.text import split_table


def save(path, rows, dtype=np.uint16):
    """Write the active terms of each text; what they weigh does not matter."""
    terms = Ragged.from_rows([np.array(row) for row in rows], dtype)
    weights = Ragged(np.ones(len(terms.values), dtype=np.float32), terms.offsets)
    write_arrow(path, {"terms": terms, "weights": weights})
    return path


def test_flops_by_hand(tmp_path):
    queries = save(tmp_path / "q.arrow", [[1], [1, 2]])
    passages = save(tmp_path / "p.arrow", [[1, 3], [2, 3], [], [1, 2, 3]])
    # Term 1: 2 of 2 queries and 2 of 4 passages; term 2: 1 of 2 and 2 of 4.
    assert sparsity(queries, [passages]) == {"query_terms": 1.5, "passage_terms": 7 / 4, "flops": 1 * 0.5 + 0.5 * 0.5}


@pytest.mark.parametrize("block", [1, 7, 1_000])
def test_flops_are_the_mean_number_of_terms_that_pairs_share(tmp_path, monkeypatch, block):
    monkeypatch.setattr(evaluate_sparsity, "BLOCK", block)
    draw = np.random.default_rng(1)
    dense = [draw.random((n, width)) < 0.2 for n, width in ((9, 50), (13, 70), (4, 20))]
    files = [save(tmp_path / f"{i}.arrow", [np.flatnonzero(row) for row in part]) for i, part in enumerate(dense)]
    wide = [np.pad(part, ((0, 0), (0, 70 - part.shape[1]))) for part in dense]
    queries, passages = wide[0].astype(float), np.concatenate(wide[1:]).astype(float)
    expected = {
        "query_terms": queries.sum(axis=1).mean(),
        "passage_terms": passages.sum(axis=1).mean(),
        "flops": np.mean([[q @ p for p in passages] for q in queries]),
    }
    assert sparsity(files[0], files[1:]) == pytest.approx(expected)


def test_sparsity_without_queries_is_none(tmp_path):
    empty, one = save(tmp_path / "q.arrow", []), save(tmp_path / "p.arrow", [[1]])
    assert set(sparsity(empty, [one]).values()) == {None}


def test_measure_adds_the_sparsity_where_vectors_are_given(tmp_path):
    (tmp_path / "run").write_text("q1 Q0 pa 1 2.0 t\n")
    (tmp_path / "qrels").write_text("q1\t0\tpa\t1\n")
    save(tmp_path / "q.arrow", [[5]])
    files = [save(tmp_path / f"p{i}.arrow", [[5, 6]]) for i in range(2)]
    command = [sys.executable, "-m", "led_pipeline.evaluation.evaluate", "measure", f"--run={tmp_path}/run"]
    command += [f"--qrels={tmp_path}/qrels", f"--out={tmp_path}/e.json", f"--per-query={tmp_path}/q.tsv"]
    subprocess.run(command, check=True)
    assert "sparsity" not in json.loads((tmp_path / "e.json").read_text())
    command += [f"--query-vectors={tmp_path}/q.arrow", "--passage-vectors", *map(str, files)]
    subprocess.run(command, check=True)
    measured = json.loads((tmp_path / "e.json").read_text())["sparsity"]
    assert measured == {"query_terms": 1.0, "passage_terms": 2.0, "flops": 1.0}


def test_the_text_report_lists_lexicon_stages_below_their_measures():
    lexicon = {"measures": {"MRR@10": 0.5}, "sparsity": {"query_terms": 21.26, "passage_terms": 181.0, "flops": 1.2345}}
    systems = {"bm25": {"measures": {"MRR@10": 0.2}}, "lex": lexicon, "led": None}
    entry = {"queries": 3, "judged": True, "relevant_from": 1, "systems": systems}
    lines = split_table({"dataset": "d", "measures": ["MRR@10"], "splits": {"dev": entry}}, "dev").splitlines()
    assert lines[-1].split() == ["lex", "21.3", "181.0", "1.234"]
    assert "FLOPS of a pair" in lines[-3]
    del systems["lex"]
    assert "FLOPS" not in split_table({"dataset": "d", "measures": ["MRR@10"], "splits": {"dev": entry}}, "dev")

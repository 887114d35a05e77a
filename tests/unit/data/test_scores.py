import json
import sys

import numpy as np
import pytest
import tiny
import torch

from led_pipeline.data import pools, scores, trainset
from led_pipeline.data.scores import look_up, of_qrels, of_ranking, store
from led_pipeline.data.tables import Ragged, read_arrow, read_ranking, write_arrow, write_strings
from led_pipeline.files.errors import InputError
from led_pipeline.training.losses import margin_mse

SCORES = {"q2": {"p1": 3.0, "p4": 8.0, "p0": 3.0}, "q0": {"p9": -1.5, "p3": 2.0, "p5": 0.5}, "elsewhere": {"x": 1.0}}


@pytest.fixture(params=[16_384, 1])
def folder(tmp_path, monkeypatch, request):
    """Write ten passages, three training queries, judgements and a score file, stored as a ranking."""
    monkeypatch.setattr(scores, "QUERIES", request.param)
    tiny.save_passages(tmp_path / "p.parquet", 10)
    write_strings(tmp_path / "q.parquet", [{"id": ["q0", "q1", "q2"]}], ["id"])
    (tmp_path / "train.qrels").write_text("q0\t0\tp3\t1\nq0\t0\tp6\t3\nq2\t0\tp4\t2\nq9\t0\tp1\t1\n")
    (tmp_path / "cross.json").write_text(json.dumps(SCORES))
    stored(tmp_path)
    return tmp_path


def stored(folder, scale=1.0, offset=0.0) -> list[tuple[int, list[int], list[float]]]:
    store(folder / "cross.json", folder / "q.parquet", folder / "p.parquet", (scale, offset), folder / "cross.parquet")
    return [(query, rows.tolist(), scores.tolist()) for query, rows, scores in read_ranking(folder / "cross.parquet")]


def drawn(folder, *examples: tuple[int, list[int]]):
    """Write a trainset of (query row, passage rows, positive first)."""
    queries, passages = zip(*examples, strict=True)
    rows = Ragged.from_rows([np.array(p) for p in passages], np.int32)
    write_arrow(folder / "drawn.arrow", {"query": np.array(queries, dtype=np.int32), "passages": rows})


def scores_of(folder, lookup, source="cross.parquet", shards=1) -> list[float]:
    parts = []
    for shard in range(shards):
        look_up(folder / "drawn.arrow", folder / source, lookup, shard, shards, folder / "out.npy")
        parts += np.load(folder / "out.npy").tolist()
    return parts


def test_a_score_file_becomes_a_ranking_of_the_training_queries_best_first(folder):
    assert stored(folder) == [(0, [3, 5, 9], [2.0, 0.5, -1.5]), (2, [4, 1, 0], [8.0, 3.0, 3.0])]


def test_scores_are_multiplied_and_then_shifted(folder):
    assert stored(folder, scale=2.0, offset=-1.0)[0] == (0, [3, 5, 9], [3.0, 0.0, -4.0])
    assert stored(folder, scale=0.0, offset=1.0)[0] == (0, [9, 3, 5], [1.0, 1.0, 1.0]), "ties stay as the file has them"


def test_a_file_of_other_queries_or_passages_is_refused(folder):
    (folder / "cross.json").write_text('{"other": {"p1": 1}}')
    with pytest.raises(InputError, match=r"cross\.json: none of its queries is a training query"):
        stored(folder)
    (folder / "cross.json").write_text('{"q0": {"p1": 1, "p10": 2}}')
    with pytest.raises(InputError, match="passage 'p10' of query 'q0' is not in the collection"):
        stored(folder)


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_a_trainsets_scores_are_looked_up_in_its_order(folder, shards):
    drawn(folder, (2, [4, 0, 1, 0]), (0, [3, 9, 5, 5]), (2, [4, 1, 1, 1]))
    expected = [8.0, 3.0, 3.0, 3.0, 2.0, -1.5, 0.5, 0.5, 8.0, 3.0, 3.0, 3.0]
    assert scores_of(folder, of_ranking(folder / "cross.parquet"), shards=shards) == expected


def test_a_positive_without_a_score_takes_the_highest_of_its_query(folder, capsys):
    """The highest score may belong to a passage that was not drawn."""
    drawn(folder, (0, [6, 9, 5]), (2, [7, 1, 0]), (2, [4, 1, 0]))
    assert scores_of(folder, of_ranking(folder / "cross.parquet")) == [2.0, -1.5, 0.5, 8.0, 3.0, 3.0, 8.0, 3.0, 3.0]
    assert "2 positives without a score got their query's highest" in capsys.readouterr().out


@pytest.mark.parametrize("example", [(0, [3, 9, 8]), (1, [1, 2, 3])])
def test_a_negative_without_a_score_is_refused_with_advice(folder, example):
    drawn(folder, (2, [4, 1, 0]), example)
    with pytest.raises(InputError, match=r"[12] of 4 drawn negatives have no score there; set only_scored: true"):
        scores_of(folder, of_ranking(folder / "cross.parquet"))


def test_labels_are_grades_and_0_for_unjudged_passages(folder):
    drawn(folder, (0, [6, 3, 9]), (2, [4, 6, 3]), (1, [6, 3, 4]))
    lookup = of_qrels(folder / "train.qrels", folder / "q.parquet", folder / "p.parquet")
    assert scores_of(folder, lookup, "train.qrels") == [3, 1, 0, 2, 0, 0, 0, 0, 0]


def test_only_scored_draws_scored_negatives_only(folder):
    """Run the commands: a pool with unscored passages, a trainset, and its scores."""
    pool = {"q0": {"p1": 5, "p5": 4, "p2": 3, "p9": 2}, "q2": {"p8": 1}}
    (folder / "pool.json").write_text(json.dumps(pool))
    command(folder, scores, "store", file="pool.json", queries="q.parquet", passages="p.parquet", out="pool.parquet")
    settings = {"negatives_per_query": 2, "batch_size": 1, "epochs": 3, "max_steps": None, "seed": 1}
    settings |= {"negatives_depth": 10, "deduplicate": False}
    files = {"queries": "q.parquet", "passages": "p.parquet", "qrels": "train.qrels", "pools": "pool.parquet"}
    options = {"scored": "cross.parquet", "settings": json.dumps(settings), "out": "drawn.arrow"}
    command(folder, trainset, "draw", **files, **options)
    columns, _ = read_arrow(folder / "drawn.arrow")
    assert set(columns["query"].tolist()) == {0}, "no candidate of q2 is scored"
    assert {tuple(sorted(passages[1:])) for passages in columns["passages"]} == {(5, 9)}
    command(folder, scores, "look-up", pairs="drawn.arrow", ranking="cross.parquet", shard="0", shards="1", out="s.npy")
    by_passage = {3: 2.0, 6: 2.0, 5: 0.5, 9: -1.5}  # p6 is judged and not scored
    assert np.load(folder / "s.npy").tolist() == [by_passage[p] for p in columns["passages"].values.tolist()]


def test_gpls_pairs_are_negatives_and_a_teacher_of_their_margins(folder):
    """Run the commands: scores, a pool, a trainset, and the loss of a student with the same margins."""
    pairs = "q2\tp4\tp1\t5.0\nq0\tp3\tp5\t1.5\nq2\tp4\tp0\t-2.0\nq0\tp6\tp5\t4.5\nq0\tp3\tp9\t3.5\n"
    (folder / "gpl.tsv").write_text(pairs)
    files = {"queries": "q.parquet", "passages": "p.parquet"}
    command(folder, scores, "store", file="gpl.tsv", **files, out="gpl.parquet")
    ranked = [(query, rows.tolist(), scores.tolist()) for query, rows, scores in read_ranking(folder / "gpl.parquet")]
    assert ranked == [(0, [6, 3, 5, 9], [3.0, 0.0, -1.5, -3.5]), (2, [0, 4, 1], [2.0, 0.0, -5.0])]
    command(
        folder, pools, "ranking", ranking="gpl.parquet", **files, qrels="train.qrels", depth="9", out="pool.parquet"
    )
    settings = {"negatives_per_query": 2, "batch_size": 1, "epochs": 1, "max_steps": None, "seed": 1}
    settings |= {"negatives_depth": 10, "deduplicate": False}
    options = {"settings": json.dumps(settings), "out": "drawn.arrow"}
    command(folder, trainset, "draw", **files, qrels="train.qrels", pools="pool.parquet", **options)
    command(folder, scores, "look-up", pairs="drawn.arrow", ranking="gpl.parquet", shard="0", shards="1", out="s.npy")
    columns, _ = read_arrow(folder / "drawn.arrow")
    taught = torch.from_numpy(np.load(folder / "s.npy").reshape(-1, 3))
    margins = {(2, 4, 1): 5.0, (2, 4, 0): -2.0, (0, 3, 5): 1.5, (0, 3, 9): 3.5, (0, 6, 5): 4.5, (0, 6, 9): 6.5}
    student = torch.tensor([[7.0, *(7.0 - margins[query, positive, p] for p in negatives)]
                            for query, (positive, *negatives) in zip(columns["query"].tolist(), columns["passages"],
                                                                     strict=True)])  # fmt: skip
    assert len(student) == 3 and margin_mse(student, taught) == 0
    assert margin_mse(student + torch.tensor([[1.0, 0.0, 0.0]]), taught) == 1


def command(folder, module, name, **options: str) -> None:
    arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [module.__name__, name, *arguments])
        module.main()

"""Two processes must give the same loss, gradients, weights, vectors and scores as one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import two_ranks
from safetensors.torch import load_file

from led_pipeline.data.tables import Ragged, Ranking, read_arrow, read_ranking, write_ranking
from led_pipeline.data.tokens import TokenStore
from led_pipeline.models.backbone import to_packed_batch

pytestmark = pytest.mark.ranks

TESTS = Path(two_ranks.__file__).parent


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[Path, Path]:
    """Return the results of one process and of two processes on the same input."""
    folder = tmp_path_factory.mktemp("two_ranks")
    tiny.save_dataset(folder, batch_size=4, epochs=2)
    tiny.save_store(folder / "one.arrow", folder / "tokenizer", {"text": ["a b c d e f g h i j"]})
    random = np.random.default_rng(0)
    rows = [random.permutation(30)[:8] for _ in range(9)]
    lists = Ragged.from_rows(rows, np.int32), Ragged.from_rows([-np.arange(8) for _ in rows], np.float32)
    write_ranking(folder / "ranking.parquet", Ranking(np.arange(9, dtype=np.int32), *lists))
    (folder / "dev.qrels").write_text("".join(f"{i}\t0\t{row[i % 8]}\t1\n" for i, row in enumerate(rows)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    process = subprocess.Popen(
        [*launch, str(TESTS / "two_ranks.py"), str(folder), str(folder / "two")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["two_ranks", str(folder), str(folder / "one")])
            two_ranks.main()
        output, _ = process.communicate(timeout=600)
    finally:
        process.terminate()  # torchrun takes its ranks along
    assert process.returncode == 0, output
    return folder / "one", folder / "two"


@pytest.mark.parametrize("name", two_ranks.CASES)
def test_loss_and_gradients_equal_one_process(results, name):
    one, *two = (torch.load(results[rank >= 0] / f"{name}.rank{max(rank, 0)}.pt") for rank in (-1, 0, 1))
    for record in two:
        assert record["terms"][0] == pytest.approx(one["terms"][0], rel=1e-5, abs=1e-6)
        rounded = name in two_ranks.ROUNDED
        for terms, reference in zip(record["terms"], one["terms"], strict=True):
            assert terms == pytest.approx(reference, rel=1e-2 if rounded else 1e-3)
        assert set(record["gradients"]) == set(one["gradients"])
        if rounded:  # each process rounds its share, and shares may cancel
            actual, exact = (torch.cat([g.flatten() for g in each["gradients"].values()]) for each in (record, one))
            assert 1e-4 < (actual - exact).norm() / exact.norm() < 2e-2 and torch.equal(
                actual, actual.bfloat16().float()
            )
            continue
        for key, gradient in one["gradients"].items():
            torch.testing.assert_close(record["gradients"][key], gradient, rtol=1e-4, atol=1e-5, msg=key)
    assert max(gradient.abs().max().item() for gradient in one["gradients"].values()) > 0.01


@pytest.mark.parametrize("name", two_ranks.CASES)
def test_the_ranks_hold_the_same_weights_after_training(results, name):
    initial = dict(tiny.backbone(two_ranks.CASES[name].family).named_parameters())
    first, second = (torch.load(results[1] / f"{name}.rank{rank}.pt")["weights"] for rank in (0, 1))
    for key, weights in first.items():
        torch.testing.assert_close(weights, second[key], rtol=0, atol=0, msg=key)
    assert any(not torch.equal(w, initial[key.rpartition("backbone.")[2]]) for key, w in first.items())


def test_two_resumed_ranks_end_with_the_same_bits_as_two_that_never_stopped(results):
    for rank in (0, 1):
        whole, resumed = (torch.load(results[1] / f"{name}.rank{rank}.pt") for name in ("dense", "resumed"))
        assert resumed["terms"] == whole["terms"][-1:]
        for key, weights in whole["weights"].items():
            torch.testing.assert_close(resumed["weights"][key], weights, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("name", two_ranks.MASKED)
def test_a_masked_language_model_is_the_one_of_one_process(results, name):
    """Same passages, masks and loss of the batch: 30 passages in batches of 8 are 4 steps in each of two epochs."""
    one, two = ([json.loads(line) for line in (f / name / "train.jsonl").read_text().splitlines()] for f in results)
    assert [line["step"] for line in two] == [line["step"] for line in one] == [*range(1, 9), 8]
    terms = {"loss", "mlm", "bow"} if name == "bow" else {"loss", "mlm"}
    for line, reference in zip(two[:-1], one[:-1], strict=True):
        assert terms <= line.keys() and ("bow" in line) == (name == "bow")
        assert {key: line[key] for key in terms} == pytest.approx({key: reference[key] for key in terms}, rel=1e-4)
    first, second = (load_file(folder / name / "model.safetensors") for folder in results)
    initial = dict(tiny.backbone("lexicon").named_parameters())
    assert max((initial[key] - value).abs().max().item() for key, value in first.items() if key in initial) > 1e-3
    for key, weights in first.items():
        if not key.endswith("key.bias"):  # its gradient is 0 up to rounding, of which Adam takes the sign
            torch.testing.assert_close(second[key], weights, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("file", ["passages.npy", "one.npy"])
def test_dense_vectors_equal_one_process(results, file):
    one, two = (np.load(folder / file) for folder in results)
    assert one.shape == ({"passages.npy": 30, "one.npy": 1}[file], 16) and one.dtype == np.float16
    np.testing.assert_allclose(two, one, rtol=2e-3, atol=1e-4)


def test_a_query_is_cut_at_the_length_of_queries(results):
    """It has 12 tokens; the longest query has 8, the longest passage 20."""
    folder = results[0].parent
    model, store = tiny.start(folder / "dense", tiny.settings("dense")).eval(), TokenStore([folder / "one.arrow"])
    texts = to_packed_batch(store.texts([0], 8), torch.device("cpu"))
    assert store.lengths([0], 20).tolist() == [12] and texts.ids_N.tolist()[-1] == 3
    with torch.no_grad():
        np.testing.assert_allclose(np.load(results[1] / "one.npy"), model(texts).numpy(), rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("file", ["passages.arrow", "one.arrow"])
def test_sparse_vectors_equal_one_process(results, file):
    (one, metadata), (two, same) = (read_arrow(folder / file) for folder in results)
    assert metadata == same == {"vocabulary": str(len(tiny.VOCABULARY))}
    np.testing.assert_array_equal(two["terms"].offsets, one["terms"].offsets)
    np.testing.assert_array_equal(two["terms"].values, one["terms"].values)
    np.testing.assert_allclose(two["weights"].values, one["weights"].values, rtol=1e-5, atol=1e-6)


def test_scores_equal_one_process(results):
    one, two = (np.concatenate([np.load(folder / f"scores.{shard}.npy") for shard in (0, 1)]) for folder in results)
    assert len(one) == 2 * 10 * 4
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


def test_rerankings_equal_one_process(results):
    one, two = (read_ranking(folder / "reranked.parquet") for folder in results)
    assert one.passages.lengths.tolist() == [5] * 9
    np.testing.assert_array_equal(two.passages.values, one.passages.values)
    np.testing.assert_allclose(two.scores.values, one.scores.values, rtol=1e-5, atol=1e-6)
    assert all((np.diff(scores) <= 0).all() for _, _, scores in one)


def test_no_partial_file_of_a_rank_is_left(results):
    assert not [path for folder in results for path in folder.glob("*.rank[0-9]") if path.suffix != ".pt"]


def test_a_rank_without_queries_to_validate_waits_for_the_other(results):
    one, two = (json.loads((folder / "one_query.json").read_text()) for folder in results)
    assert one == two and one["MRR@10"] > 0


def test_each_rank_draws_its_dropout_from_its_own_seed(results):
    seeds = [json.loads((results[1] / f"seed.rank{rank}.json").read_text()) for rank in (0, 1)]
    assert seeds == [42, 43]


def test_a_whole_training_logs_what_one_process_logs(results):
    one, two = ([json.loads(line) for line in (f / "trained/train.jsonl").read_text().splitlines()] for f in results)
    assert [line["step"] for line in two] == [line["step"] for line in one] == [1, 2, 2, 3, 4, 4, 4]
    for line, reference in zip(two, one, strict=True):
        if "validation" in line:
            assert line["validation"] == pytest.approx(reference["validation"])
            assert list(line["validation"]) == ["MRR@10", "nDCG@10", "MAP"]
            assert 0 < line["validation"]["MRR@10"] < 1
        elif "loss" in line:
            assert line["loss"] == pytest.approx(reference["loss"], rel=1e-4)
    assert two[-1]["best_step"] == one[-1]["best_step"]

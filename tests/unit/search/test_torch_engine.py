"""Dense search with torch on several devices, which are the processor here, against sorting and against FAISS."""

import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import gpus, locks
from led_pipeline.search import faiss_index, top_k, torch_engine

CPU = torch.device("cpu")


def save(folder, name: str, vectors: np.ndarray, dtype=np.float16):
    path = folder / f"{name}.npy"
    np.save(path, vectors.astype(dtype))
    return path


def save_shards(folder, vectors: np.ndarray, *cuts: int, dtype=np.float16):
    bounds = [0, *cuts, len(vectors)]
    return [save(folder, f"p{len(cuts)}.{i}", vectors[a:b], dtype) for i, (a, b) in enumerate(pairwise(bounds))]


@pytest.fixture(params=[1, 3], ids=["one device", "three devices"])
def small_blocks(request, monkeypatch):
    """Return the number of devices; blocks have 64 passages, and few scores are held at once."""
    monkeypatch.setattr(torch_engine, "BLOCK", 64)
    monkeypatch.setattr(torch_engine, "SCORES_CPU", 64 * 8)
    monkeypatch.setattr(torch_engine, "TIED_SCORES", 64 * 3)
    return request.param


def both(monkeypatch, devices: int, *arguments):
    """Return the rankings by torch and by FAISS."""
    with monkeypatch.context() as patch:
        patch.setattr(faiss_index, "torch_devices", lambda: ["cpu"] * devices)
        ours = faiss_index.search(*arguments)
    return ours, faiss_index.search(*arguments)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("values", [2, 5, 50])  # fewer values make longer ties
def test_rankings_and_scores_equal_those_of_faiss_with_any_ties(tmp_path, monkeypatch, small_blocks, dtype, values):
    rng = np.random.default_rng(values)
    queries, passages = rng.integers(-values, values, (30, 4)), rng.integers(-values, values, (500, 4))
    files = save_shards(tmp_path, passages, 7, 200, dtype=dtype)
    arguments = files, save(tmp_path, "q", queries, dtype), 9, 1
    ours, faiss = both(monkeypatch, small_blocks, *arguments)
    assert ours.queries.tolist() == faiss.queries.tolist() == list(range(30))
    np.testing.assert_array_equal(ours.passages.values, faiss.passages.values)
    np.testing.assert_array_equal(ours.scores.values, faiss.scores.values)  # sums of small integers are exact
    order = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(ours.passages.values.reshape(30, 9), order)


def test_vectors_of_reals_rank_as_sorting_all_scores(tmp_path, monkeypatch, small_blocks):
    rng = np.random.default_rng(1)
    queries, passages = (rng.standard_normal((n, 24)).astype(np.float16) for n in (30, 300))
    ours, faiss = both(
        monkeypatch, small_blocks, save_shards(tmp_path, passages, 100), save(tmp_path, "q", queries), 20, 1
    )
    scores = queries.astype(np.float64) @ passages.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(ours.passages.values.reshape(30, 20), order)
    np.testing.assert_allclose(ours.scores.values, faiss.scores.values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hits", [1, 63, 64, 65, 199, 1_000])
def test_any_number_of_hits_and_only_some_of_the_queries(tmp_path, monkeypatch, small_blocks, hits):
    rng = np.random.default_rng(3)
    queries, passages = rng.integers(0, 2, (7, 4)), rng.integers(0, 2, (200, 4))
    files, path = save_shards(tmp_path, passages, 1, 1, 64), save(tmp_path, "q", queries)
    for shard in range(3):
        ours, faiss = both(monkeypatch, small_blocks, files, path, hits, 1, shard, 3)
        assert ours.queries.tolist() == faiss.queries.tolist()
        np.testing.assert_array_equal(ours.passages.values, faiss.passages.values)
        np.testing.assert_array_equal(ours.scores.values, faiss.scores.values)
    ours, _ = both(monkeypatch, small_blocks, files, path, hits, 1, 0, 30)  # a shard without a query
    assert len(ours) == 0


def test_queries_that_do_not_fit_at_once_are_searched_in_rounds(tmp_path, monkeypatch, small_blocks):
    rng = np.random.default_rng(4)
    files, path = [save(tmp_path, "p", rng.integers(0, 3, (150, 4)))], save(tmp_path, "q", rng.integers(0, 3, (10, 4)))
    whole, _ = both(monkeypatch, small_blocks, files, path, 12, 1)
    monkeypatch.setattr(torch_engine, "_queries_at_once", lambda *_: 4)
    rounds, _ = both(monkeypatch, small_blocks, files, path, 12, 1)
    np.testing.assert_array_equal(rounds.passages.values, whole.passages.values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("row", [31, 150])
def test_error_gives_file_and_row_of_a_value_that_is_not_finite(tmp_path, monkeypatch, small_blocks, value, row):
    passages = np.ones((200, 4))
    passages[[row, 199], 2] = value
    files, path = save_shards(tmp_path, passages, 30), save(tmp_path, "q", np.ones((2, 4)))
    monkeypatch.setattr(faiss_index, "torch_devices", lambda: ["cpu"] * small_blocks)
    with pytest.raises(InputError, match=rf"{files[1].name}: row {row - 30}: a value is NaN or infinite"):
        faiss_index.search(files, path, 5, 1)


def test_keys_are_those_of_the_other_engines():
    scores = torch.tensor([3.5, -0.0, 0.0, -2.25, 1e-30, -3e38, float(2**24)])
    rows = torch.tensor([5, 0, 2**31 - 1, 2**32 - 1, 7, 8, 9])
    ours = torch_engine.packed(torch_engine.keys_of(scores, rows))
    np.testing.assert_array_equal(ours, top_k.pack(scores.numpy(), rows.numpy()))
    assert torch_engine.packed(torch.tensor([torch_engine.LOWEST]))[0] == top_k.NONE


def test_the_probe_finds_a_device_that_computes_something_else(monkeypatch):
    assert torch_engine.probe([CPU, CPU]) == "processor, processor"
    monkeypatch.setattr(
        torch_engine, "products", lambda queries, block: queries.float() @ block.float().T + torch.rand(1)
    )
    assert torch_engine.probe([CPU]) == "processor", "all scores are raised alike"
    monkeypatch.setattr(
        torch_engine, "products", lambda queries, block: (queries * block[0, 0]).float() @ block.float().T
    )
    with pytest.raises(RuntimeError, match="gives other passages than sorting all scores"):
        torch_engine.probe([CPU])


def test_a_gpu_multiplies_float16_and_adds_float32():
    with FakeTensorMode():
        queries, block = (torch.empty(n, 24, dtype=torch.float16, device="cuda") for n in (8, 64))
        scores = torch_engine.products(queries, block)
        assert (scores.shape, scores.dtype, scores.device.type) == ((8, 64), torch.float32, "cuda")
        keys = torch_engine.keys_of(*scores.topk(5))
        assert (keys.shape, keys.dtype, keys.device.type) == ((8, 5), torch.int64, "cuda")
        assert torch_engine.products(queries.float(), block.float()).dtype == torch.float32


# --- which engine


@pytest.fixture
def card(monkeypatch):
    """Return a function that installs a GPU of some capability, beside a FAISS that must not be called."""

    def install(capability: tuple[int, int], count: int = 1) -> None:
        properties = SimpleNamespace(name="NVIDIA Card", major=capability[0], minor=capability[1])
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
        monkeypatch.setattr(
            torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
        )
        monkeypatch.setitem(sys.modules, "faiss", None)

    return install


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 9), (9, 0), (10, 3), (12, 0)])
def test_torch_searches_on_every_card_that_it_has_kernels_for(card, capability):
    card(capability, 2)
    assert faiss_index.torch_devices() == ["cuda:0", "cuda:1"]


def test_a_card_without_kernels_is_refused(card):
    card((7, 0))
    with pytest.raises(InputError, match=r"NVIDIA Card: its compute capability is 7\.0, and torch .* sm_75, .* only"):
        faiss_index.torch_devices()


def test_faiss_searches_on_the_processor_and_torch_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert faiss_index.torch_devices() == []
    monkeypatch.setattr(faiss_index, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert faiss_index.torch_devices() == ["cpu"]
    ranking = faiss_index.search([save(tmp_path, "p", np.eye(3))], save(tmp_path, "q", np.eye(3)), 1, 1)
    assert ranking.passages.values.tolist() == [0, 1, 2]


def test_a_leased_gpu_that_torch_cannot_use_is_an_error_and_no_search_on_the_processor(card, monkeypatch):
    card((9, 0), 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv(locks.LEASE, "/tmp/gpu-0.lock")
    monkeypatch.setattr(gpus, "driver_version", lambda: "535.1")
    with pytest.raises(InputError, match=r"1 GPUs are leased for this job .* can use 0 of them"):
        faiss_index.torch_devices()


@pytest.mark.gpu
def test_every_gpu_ranks_as_sorting_does():
    assert torch_engine.probe()

import sys

import numpy as np
import pytest
import tiny
import torch

from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.inference import batches, encode
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.saved_model import save

CPU = torch.device("cpu")
ROWS = np.array([10, 29, 2, 13, 13, 23, 6])  # of different lengths, some cut at 20 tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encode")
    tiny.save_dataset(folder)
    return folder


def one_by_one(model, store) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([model(to_packed_batch(store.texts([row], 20), CPU)) for row in ROWS]).numpy()


@pytest.mark.parametrize("budget", [20, 45, 8_192])
@pytest.mark.parametrize("family", ["dense", "lexicon"])
def test_rows_equal_each_text_encoded_alone_in_the_given_order(folder, monkeypatch, family, budget):
    monkeypatch.setitem(batches.TOKENS_PER_BATCH, "cpu", budget)
    model, store = tiny.start(folder / family, tiny.settings(family)).eval(), TokenStore([folder / "passages.arrow"])
    assert store.lengths(ROWS, 20).tolist() == [7, 20, 12, 20, 20, 9, 16]
    expected = one_by_one(model, store)
    if family == "dense":
        actual = encode.dense_rows(model, store, ROWS, 20, CPU)
        assert actual.dtype == np.float16
    else:
        rows = encode.sparse_rows(model, store, ROWS, 20, CPU)
        actual = np.zeros(expected.shape)
        for i in range(len(ROWS)):
            assert (np.diff(rows["terms"][i].astype(int)) > 0).all() and (rows["weights"][i] > 0).all()
            actual[i, rows["terms"][i]] = rows["weights"][i]
    np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=1e-3 if family == "dense" else 1e-5)


def test_terms_beyond_the_tokenizers_vocabulary_are_kept(folder):
    """A model with 65,540 entries, for example through padded embeddings; 16 bits would wrap around."""

    class Padded(torch.nn.Module):
        def forward(self, texts) -> torch.Tensor:
            weights = torch.zeros(len(texts.lengths), 2**16 + 4)
            weights[:, [3, 2**16 + 1]] = torch.tensor([1.0, 2.0])
            return weights

    rows = encode.sparse_rows(Padded(), TokenStore([folder / "passages.arrow"]), ROWS, 20, CPU)
    assert all(rows["terms"][i].tolist() == [3, 2**16 + 1] for i in range(len(ROWS)))


@pytest.mark.parametrize("side", ["query", "passage"])
def test_the_command_encodes_without_dropout_and_cuts_each_side_at_its_length(folder, tmp_path, monkeypatch, side):
    """Even if the model arrives in training mode, as a user's class may."""
    settings, length = tiny.settings("dense"), {"query": 8, "passage": 20}[side]
    tiny.backbone("dense", hidden_dropout_prob=0.5).save_pretrained(tmp_path / "model")
    model, store = tiny.start(tmp_path / "model", settings).eval(), TokenStore([folder / "passages.arrow"])
    with torch.no_grad():
        expected = torch.cat(
            [model(to_packed_batch(store.texts([row], length), CPU)) for row in range(len(store))]
        ).numpy()
    monkeypatch.setattr(encode, "load", lambda _: (tiny.start(tmp_path / "model", settings).train(), settings))
    options = {
        "model": tmp_path / "model",
        "tokens": folder / "passages.arrow",
        "side": side,
        "out": tmp_path / "v.npy",
    }
    command = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["encode", *command])
    encode.main()
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), expected, rtol=2e-3, atol=1e-3)


def test_a_model_reads_passages_without_a_title_as_it_was_trained_to(folder, tmp_path, monkeypatch):
    settings = tiny.settings("dense", untitled="empty_title")
    tiny.save_store(tmp_path / "p.arrow", folder / "tokenizer", {"title": ["", "a"], "text": ["b c", "b c"]})
    (tmp_path / "model").mkdir()
    model = tiny.start(folder / "dense", settings).eval()
    save(model, settings, folder / "tokenizer", tmp_path / "model")
    command = [
        "--model",
        tmp_path / "model",
        "--tokens",
        tmp_path / "p.arrow",
        "--side",
        "passage",
        "--out",
        tmp_path / "v",
    ]
    monkeypatch.setattr(sys, "argv", ["encode", *map(str, command)])
    encode.main()
    store = TokenStore([tmp_path / "p.arrow"], empty_title=True)
    assert store.texts([0], 20).ids.tolist() == [2, 3, 6, 7, 3]  # [CLS] [SEP] b c [SEP]
    with torch.no_grad():
        expected = torch.cat([model(to_packed_batch(store.texts([row], 20), CPU)) for row in range(2)]).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "v"), expected, rtol=2e-3, atol=1e-3)


def dense_matrix(vectors, width: int) -> np.ndarray:
    if not isinstance(vectors, dict):
        return vectors.astype(np.float64)
    matrix = np.zeros((len(vectors["terms"]), width))
    for i in range(len(matrix)):
        matrix[i, vectors["terms"][i]] = vectors["weights"][i]
    return matrix


@pytest.mark.parametrize("family", ["dense", "lexicon"])
def test_bf16_vectors_keep_their_nearest_neighbours(folder, family):
    run = encode.dense_rows if family == "dense" else encode.sparse_rows
    model, store = tiny.start(folder / family, tiny.settings(family)).eval(), TokenStore([folder / "passages.arrow"])
    width = model.backbone.config.vocab_size
    full, half, plain = (
        dense_matrix(run(model, store, np.arange(30), 20, CPU, precision), width)
        for precision in ("float32", "bf16", None)
    )
    np.testing.assert_array_equal(full, plain)  # on a processor
    difference = np.linalg.norm(half - full, axis=1) / np.linalg.norm(full, axis=1)
    assert 1e-4 < difference.max() < 0.02  # bf16 has 8 bits
    # Every vector is nearest to itself; its nearest neighbour stays the same unless two are almost equally near.
    across, within = (np.linalg.norm(one[:, None] - full[None], axis=2) for one in (half, full))
    assert (across.argmin(axis=1) == np.arange(30)).all()
    for distances in (across, within):
        np.fill_diagonal(distances, np.inf)
    best = np.sort(within, axis=1)
    clear = best[:, 1] - best[:, 0] > 0.05 * best[:, 0]
    assert clear.sum() > 10 and (across.argmin(axis=1) == within.argmin(axis=1))[clear].all()


@pytest.mark.parametrize("family", ["dense", "lexicon"])
def test_no_rows_give_an_empty_file_that_joins(folder, tmp_path, family):
    model, store = tiny.start(folder / family, tiny.settings(family)).eval(), TokenStore([folder / "passages.arrow"])
    run = encode.dense_rows if family == "dense" else encode.sparse_rows
    parts = [tmp_path / "a", tmp_path / "b"]
    for part, rows in zip(parts, ([], [3, 1]), strict=True):
        encode.write_vectors(run(model, store, np.array(rows, dtype=np.int64), 20, CPU), store.vocabulary, part)
    whole = tmp_path / ("whole.npy" if family == "dense" else "whole.arrow")
    encode.join_parts(parts, family == "lexicon", whole)
    joined = np.load(whole) if family == "dense" else encode.read_arrow(whole)[0]["terms"]
    assert len(joined) == 2
    assert not parts[0].exists()


def test_error_names_a_diverged_model(folder, tmp_path):
    with pytest.raises(
        InputError, match=r"1 of the 2 values .* not finite in float16 .* it has diverged, train it again"
    ):
        encode.write_vectors(np.array([[1.0, np.inf]], dtype=np.float16), 57, tmp_path / "v.npy")
    assert not (tmp_path / "v.npy").exists()


@pytest.mark.parametrize(
    ("value", "advice"), [(np.inf, "normalize: true"), (np.nan, "it is damaged or of another kind")]
)
def test_an_imported_model_does_not_count_as_diverged(tmp_path, value, advice):
    with pytest.raises(InputError, match=f"imported as it is .*{advice}[,;] .*name another model"):
        encode.write_vectors(np.array([[1.0, value]], dtype=np.float16), 57, tmp_path / "v.npy", trained=False)

"""ONNX files against the encoders that they come from, with onnxruntime, on texts that were not compared before."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from small_results import run_readme, save_results
from tiny import batch, unpadded

from led_pipeline.export import onnx_graphs
from led_pipeline.export.folder import export
from led_pipeline.export.onnx_int8 import cosine
from led_pipeline.export.options import Options
from led_pipeline.export.source import open_source
from led_pipeline.files.errors import InputError
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.models.saved_model import load

SLOW = pytest.mark.pipeline  # tracing takes seconds per file
DENSE = {"family": "dense", "normalize": True, "pooling": "mean"}


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@torch.inference_mode()
def check(results: Path, stage: str, out: Path) -> None:
    """Compare every file with the encoder: one text, texts without tokens, different lengths, the longest possible."""
    model, settings = load(results / "models" / stage)
    model.eval()
    files = json.loads((out / "export.json").read_text())["formats"]["onnx"]["files"]
    assert all(each["largest_difference"] <= 1e-4 for each in files.values())
    for name in files:
        run = session(out / "onnx" / name)
        for lengths in ([2], [7], [9, 2, 5, 12, 3], [64, 3]):
            ids, mask = batch(lengths, seed=sum(lengths))
            side = "query" if name == "query.onnx" else "passage"
            types = (torch.arange(ids.shape[1]) >= 2).long().expand_as(ids) if settings.family == "ranker" else None
            encoder = model if types is not None else encoder_of(model, side)
            expected = encoder(unpadded(ids, mask, types)).numpy()
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
            names = [each.name for each in run.get_inputs()]
            (output,) = run.run(None, {name: inputs[name].numpy() for name in names})
            np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("dense")
    results = save_results(root, {"den": DENSE})
    export(open_source(results, "den"), ["onnx", "onnx-int8"], root / "out", Options())
    return results, root / "out"


@SLOW
def test_a_dense_file_gives_the_vectors_of_the_encoder(dense):
    check(dense[0], "den", dense[1])


@SLOW
def test_int8_is_smaller_and_its_loss_is_measured(dense):
    _, out = dense
    numbers = json.loads((out / "export.json").read_text())["formats"]["onnx-int8"]
    (file,) = numbers["files"].values()
    assert file["bytes"] == (out / "onnx-int8" / "model.onnx").stat().st_size < file["bytes_of_float32"]
    ids, mask = batch([9, 5, 12, 3])
    inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    whole, small = (session(out / name / "model.onnx").run(None, inputs)[0] for name in ("onnx", "onnx-int8"))
    assert 0.9 < cosine(whole, small).min() < 0.99999, "int8 is close, and not the same"
    assert 0.9 < file["lowest_cosine"] <= file["mean_cosine"] <= 1
    assert 0 <= numbers["MRR@10"] <= 1 and numbers["queries"] == 12


@SLOW
def test_the_readme_gives_the_stored_vectors_of_the_run(dense, monkeypatch):
    results, out = dense
    _, variables = run_readme(out, "onnx")
    table = pq.read_table(results / "prepared" / "passages.parquet").to_pydict()
    stored = np.load(results / "vectors" / "den" / "passages.0.npy")
    monkeypatch.chdir(out)
    rows = [row for row in range(20) if table["title"][row]]
    texts, titles = ([table[name][row] for row in rows] for name in ("text", "title"))
    vectors = variables["encode"]("model.onnx", texts, 20, titles)
    np.testing.assert_allclose(vectors, stored[rows], atol=2e-3)
    np.testing.assert_allclose(variables["encode"]("model.onnx", [table["text"][5]], 20), stored[[5]], atol=2e-3)


OPTIONS = {
    "cls": {"family": "dense"},
    "last": {"family": "dense", "pooling": "last", "query_prefix": "q : "},
    "lex": {"family": "lexicon"},
    "special": {"family": "lexicon", "keep_special_tokens": True, "activation": "log1p_twice"},
    "pruned": {"family": "lexicon", "top_k_queries": 5, "prune_ratio_passages": 0.3},
    "bag": {"family": "lexicon", "query_encoder": "bag_of_words"},
    "untied": {"family": "dense", "untied": True, "pooling": "mean"},
    "ranker": {"family": "ranker"},
}


@SLOW
@pytest.mark.parametrize("name", OPTIONS)
def test_every_family_and_option_equals_its_encoder(tmp_path, name):
    results = save_results(tmp_path, {name: OPTIONS[name]})
    export(open_source(results, name), ["onnx", "onnx-int8"], tmp_path / "out", Options())
    check(results, name, tmp_path / "out")
    two = name in ("pruned", "bag", "untied")
    expected = ["passage.onnx", "query.onnx"] if two else ["model.onnx"]
    assert sorted(path.name for path in (tmp_path / "out" / "onnx").glob("*.onnx")) == expected
    for part in ("onnx", "onnx-int8"):
        assert run_readme(tmp_path / "out", part)[0]


@SLOW
def test_a_graph_that_computes_something_else_is_refused_and_nothing_is_left(dense, tmp_path, monkeypatch):
    original = onnx_graphs.DenseGraph.__init__

    def broken(self, encoder):
        original(self, encoder)
        self.pooling = "cls"

    monkeypatch.setattr(onnx_graphs.DenseGraph, "__init__", broken)
    with pytest.raises(
        InputError, match=r"den cannot be ONNX: model\.onnx differs from the model by .* with outputs up to"
    ):
        export(open_source(dense[0], "den"), ["onnx"], tmp_path / "out", Options())
    assert list(tmp_path.iterdir()) == []


def test_code_of_the_user_cannot_become_onnx(tmp_path):
    results = save_results(tmp_path, {"den": DENSE})
    model = results / "models" / "den"
    (model / "own_pooling.py").write_text(
        "def first(hidden_NH, texts):\n    return hidden_NH[texts.cu_seqlens[:-1].long()]\n"
    )
    settings = json.loads((model / "led.json").read_text())
    (model / "led.json").write_text(json.dumps(settings | {"pooling": "own_pooling.py:first"}))
    with pytest.raises(InputError, match="den cannot become ONNX, because it has code of your own"):
        export(open_source(results, "den"), ["onnx"], tmp_path / "out", Options())
    assert not (tmp_path / "out").exists()


def test_scores_of_zero_vectors_have_a_cosine():
    zero, one = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    assert [float(cosine(a, b)[0]) for a, b in ((zero, zero), (zero, one), (one, one))] == pytest.approx([1, 0, 1])

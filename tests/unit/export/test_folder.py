"""The folder of an export: complete or not there, and errors that say what to do."""

import re
import shutil
from pathlib import Path

import pytest
from small_results import save_results
from typer.testing import CliRunner

from led_pipeline.cli import app
from led_pipeline.export import faiss_folder, formats
from led_pipeline.export.folder import export
from led_pipeline.export.options import Options
from led_pipeline.export.source import open_source
from led_pipeline.files.errors import InputError


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    stages = {"den_warmup": {"family": "dense"}, "lex": {"family": "lexicon"}, "rank": {"family": "ranker"}}
    return save_results(tmp_path_factory.mktemp("all"), stages)


def test_the_command_writes_a_folder(results, tmp_path):
    arguments = ["export", "den_warmup", "--results", str(results), "--to", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, [*arguments, "--formats", "flat,hnsw", "--threads", "1"], catch_exceptions=False)
    assert answer.exit_code == 0 and "README.md in it says how to open it" in answer.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "export.json", "flat", "hnsw"]


@pytest.mark.parametrize(
    ("stage", "names", "message"),
    [
        ("den_warmap", [], "no such stage in .* (did you mean den_warmup?); there are bm25, den_warmup, lex"),
        ("den_warmup", ["lucene"], "lucene is for lexicon and bm25 stages, and den_warmup is a dense stage, which"),
        ("bm25", ["flat"], "flat is for dense stages, and bm25 is BM25, which has lucene"),
        ("rank", ["npz"], "npz is for lexicon stages, and rank is a ranker stage, which has onnx, onnx-int8"),
        ("lex", ["lucen"], "no format 'lucen' (did you mean lucene?); lex has lucene, jsonl, opensearch, npz, onnx"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_told_the_right_ones(results, tmp_path, stage, names, message):
    with pytest.raises(InputError, match=re.escape(message).replace(r"\.\*", ".*")):
        export(open_source(results, stage), names, tmp_path / "out", Options())
    assert list(tmp_path.iterdir()) == []


def test_missing_vectors_are_named_with_the_command_that_builds_them(results, tmp_path):
    copy = tmp_path / "results" / "tiny"
    shutil.copytree(results, copy)
    (copy / "vectors" / "den_warmup" / "passages.1.npy").unlink()
    (copy / "vectors" / "den_warmup" / "dev.npy").unlink()
    targets = "results/tiny/vectors/den_warmup/passages.1.npy results/tiny/vectors/den_warmup/dev.npy"
    with pytest.raises(
        InputError, match=rf"passages\.1\.npy: .* `snakemake {targets} --cores all --configfile CONFIG`"
    ):
        export(open_source(copy, "den_warmup"), [], tmp_path / "out", Options())


def test_results_without_a_recipe_are_named(results, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        open_source(tmp_path / "nowhere", "lex")
    with pytest.raises(InputError, match=r"has no report/recipe\.json"):
        open_source(tmp_path, "lex")
    with pytest.raises(InputError, match=r"--split: no split 'dew' \(did you mean dev\?\); there are train, dev"):
        open_source(results, "lex", "dew")


def test_a_folder_in_use_stays_as_it_is(results, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    for name in ("a", "b"):
        (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(InputError, match=r"--to: .*out is not empty \(a and 1 more\); name a new folder"):
        export(open_source(results, "den_warmup"), [], tmp_path / "out", Options())
    assert [path.read_text() for path in sorted((tmp_path / "out").iterdir())] == ["mine", "mine"]
    with pytest.raises(InputError, match="is a file; name a new folder"):
        export(open_source(results, "den_warmup"), [], tmp_path / "out" / "a", Options())
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError, match="is the working directory"):
        export(open_source(results, "den_warmup"), [], Path(), Options())
    monkeypatch.chdir(tmp_path)
    export(open_source(results, "den_warmup"), [], tmp_path / "empty", Options())
    assert (tmp_path / "empty" / "export.json").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_export_leaves_nothing(results, tmp_path, monkeypatch, error):
    def interrupted(*_):
        raise error

    monkeypatch.setattr(faiss_folder.faiss, "write_index", interrupted)
    with pytest.raises((KeyboardInterrupt, InputError), match="were free" if isinstance(error, OSError) else None):
        export(open_source(results, "den_warmup"), ["flat"], tmp_path / "out", Options())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_before_anything_is_written(results, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name.startswith("onnxr") else object())
    with pytest.raises(
        InputError, match=r"onnx needs the package onnxruntime; .* `pip install 'led-pipeline\[onnx\]'`"
    ):
        export(open_source(results, "den_warmup"), ["flat", "onnx"], tmp_path / "out", Options())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.pipeline
def test_a_model_opens_in_sentence_transformers_from_the_exported_folder(results, tmp_path, monkeypatch):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    export(open_source(results, "den_warmup"), ["model"], tmp_path / "out", Options())
    monkeypatch.chdir(tmp_path / "out")
    vectors = sentence_transformers.SentenceTransformer("model", device="cpu").encode(["a b c"])
    assert vectors.shape == (1, 16)
    assert 'SentenceTransformer("model"' in (tmp_path / "out" / "model" / "README.md").read_text()

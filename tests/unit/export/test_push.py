import json
import os
import subprocess
import sys
from pathlib import Path

import hub_server
import pytest
import tiny
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

from led_pipeline.export.push import push
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.models import saved_model

# What sentence-transformers adds to a folder.
NEW_FILES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling/config.json")


def run_of(folder: Path, family: str = "dense", **settings) -> Path:
    """Write the results of a run with one stage `mine`, and return their folder."""
    results = folder / "results" / "small"
    tiny.save_tokenizer(folder / "tokenizer")
    tiny.backbone(family).save_pretrained(folder / "start")
    (folder / "start/README.md").write_text("---\nlicense: mit\nlanguage: en\nbase_model: some/base\n---\n")
    stage = tiny.settings(family, **settings)
    (results / "models/mine").mkdir(parents=True)
    saved_model.save(
        tiny.start(folder / "start", stage, folder / "tokenizer"), stage, folder / "tokenizer", results / "models/mine"
    )
    measures = {"run": "r", "queries": 12, "measures": {"nDCG@10": 0.25, "recall@100": 0.5, "recall@1000": 0.5}}
    write_json(results / "eval/mine.dev.json", measures)
    write_json(results / "eval/mine.test.json", measures | {"measures": {"nDCG@10": 0.75}})
    write_json(results / "eval/other.dev.json", measures)
    write_json(
        results / "prepared/passages.json", {"inputs": [{"path": "source/c.tsv", "bytes": 1, "sha256": "ab" * 32}]}
    )
    recipe = {"dataset": {"name": "small", "limit": None}, "seed": 42, "evaluation": {"depth": 100}}
    write_json(results / "report/recipe.json", recipe)  # recall@1000 of 100 passages would be recall@100
    return results


@pytest.mark.pipeline
def test_a_dry_run_writes_the_folder_with_a_complete_card(tmp_path):
    results = run_of(tmp_path)
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    text = push(results, "mine", "me/tiny-led", private=False, dry_run=tmp_path / "dry")
    assert "would be uploaded to me/tiny-led" in text
    assert before == {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    card = ModelCard.load(tmp_path / "dry/README.md")
    assert (card.data.license, card.data.language, card.data.base_model) == ("mit", "en", "some/base")
    assert (card.data.library_name, card.data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    measured = {(r.dataset_name, r.dataset_split, r.metric_name): r.metric_value for r in card.data.eval_results}
    assert measured == {
        ("small", "dev", "nDCG@10"): 0.25,
        ("small", "dev", "recall@100"): 0.5,
        ("small", "test", "nDCG@10"): 0.75,
    }
    assert 'SentenceTransformer("me/tiny-led")' in card.text and "ab" * 32 in card.text and "limit" not in card.text
    assert SentenceTransformer(str(tmp_path / "dry"), device="cpu").encode(["a"]).shape == (1, 16)


@pytest.mark.pipeline
def test_a_folder_of_an_older_version_is_completed(tmp_path):
    results = run_of(tmp_path, head=8)
    folder = results / "models/mine"
    origin = (folder / "weights.json").read_bytes()
    for name in NEW_FILES:
        (folder / name).unlink()
    push(results, "mine", "me/tiny-led", private=False, dry_run=tmp_path / "dry")
    assert all((tmp_path / "dry" / name).is_file() for name in NEW_FILES) and not (folder / "modules.json").exists()
    assert (tmp_path / "dry/weights.json").read_bytes() == origin


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("led.json", {"pooling": "mean"}),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}),
        ("sentence_bert_config.json", {"document_length": 4}),
    ],
)
def test_a_model_that_would_open_wrongly_is_refused(tmp_path, file, change):
    results = run_of(tmp_path)
    path = results / "models/mine" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"computes other (query|passage) vectors than led_pipeline .* not uploaded"):
        push(results, "mine", "me/tiny-led", private=False, dry_run=tmp_path / "dry")
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize(
    ("stage", "name", "sentence"),
    [
        ("mime", "me/led", r"models/mime: no such model \(did you mean mine\?\); .* has mine"),
        ("pretrain", "me/led", "pretrain: no led.json here: it is neither a retriever nor a ranker"),
        ("mine", "led", "'led': expected ORG/NAME"),
        ("mine", "me/led/x", "'me/led/x' is no possible name of a model on the hub"),
    ],
)
def test_errors_name_the_stage_or_the_name(tmp_path, stage, name, sentence):
    results = run_of(tmp_path)
    (results / "models/pretrain").mkdir()
    with pytest.raises(InputError, match=sentence):
        push(results, stage, name, private=False, dry_run=tmp_path / "dry")


CODE = """
import os, sys
import numpy, opened
from pathlib import Path
from sentence_transformers import SentenceTransformer, SparseEncoder
from led_pipeline.export.push import push
from led_pipeline.files.errors import InputError
results, uploaded, kind = Path(sys.argv[1]), Path(sys.argv[2]), globals()[sys.argv[3]]
try:
    push(results, "mine", "me/tiny-led", True, None)
except InputError as error:
    print(error)
os.environ["HF_TOKEN"] = "hf_x"
print(push(results, "mine", "me/tiny-led", True, None))
trust, texts = (uploaded / "led_modules.py").exists(), ["", "a b", " ".join("abcdef" * 9)]
model = kind("me/tiny-led", trust_remote_code=trust, device="cpu")
for side, encode in (("query", model.encode_query), ("passage", model.encode_document)):
    vectors = encode(texts)
    vectors = vectors.to_dense() if kind is SparseEncoder else vectors
    numpy.testing.assert_allclose(vectors, opened.vectors(results / "models/mine", texts, side, results), atol=1e-5)
for part in (uploaded / "README.md").read_text().split("```python\\n")[1:]:
    exec(part.partition("\\n```")[0], {})
print("equal")
"""


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("family", "settings", "kind"),
    [
        ("dense", {"untied": True, "head": 8}, "SentenceTransformer"),
        ("lexicon", {"keep_special_tokens": True, "query_encoder": "bag_of_words"}, "SparseEncoder"),
        ("lexicon", {}, "SparseEncoder"),
    ],
)
def test_an_uploaded_model_opens_from_the_hub_as_trained(tmp_path, family, settings, kind):
    results, uploaded = run_of(tmp_path, family, **settings), tmp_path / "hub/tiny-led"
    uploaded.mkdir(parents=True)
    (uploaded / "old.txt").write_text("of an earlier upload")
    with hub_server.serve({}, uploads=tmp_path / "hub") as address:
        hub = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
        paths = [Path(saved_model.__file__).parents[2], Path(hub_server.__file__).parent]
        env = os.environ | hub | {"HF_HUB_DISABLE_XET": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}
        command = [sys.executable, "-c", CODE, results, uploaded, kind]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout.endswith("equal\n"), done.stderr
    assert f"the hub ({address}) does not know you; log in with `hf auth login`" in done.stdout
    assert f"mine is at {address}/me/tiny-led" in done.stdout
    assert not (uploaded / "old.txt").exists()
    assert json.loads((tmp_path / "hub/tiny-led.json").read_text())["visibility"] == "private"

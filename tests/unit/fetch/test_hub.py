"""The model hub: which names of a recipe are hub ids, what is fetched, and the error if it cannot be."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from configs import RECIPES, changed
from hub_server import COMMIT, serve

from led_pipeline.fetch import hub
from led_pipeline.fetch.hub_revisions import REVISIONS, UNPINNED
from led_pipeline.plan.models import check_folder
from led_pipeline.recipe.load import load_recipe

pytestmark = pytest.mark.pipeline  # they start programs

NAME = "org/encoder"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with its tokenizer and an unneeded file of another library."""
    folder = tmp_path_factory.mktemp("model")
    tiny.save_tokenizer(folder)
    tiny.backbone("dense").save_pretrained(folder)
    (folder / "tf_model.h5").write_bytes(b"of another library")
    return folder


def run(module, *arguments, home, endpoint, **environment):
    """Run a module with its own hub cache, in a process since huggingface_hub reads its settings on import."""
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | settings | environment, capture_output=True, text=True)


def fetch(out, *parts, name=NAME, **where):
    return run("led_pipeline.fetch.hub", "--name", name, *parts, "--keys", "stages.den.init", "--out", out, **where)


GONE = "http://127.0.0.1:9"  # the port of the discard service, where nothing listens


def test_a_model_is_copied_with_its_commit_and_loads_without_a_network(model, tmp_path):
    with serve({NAME: model}) as endpoint:
        answer = fetch(tmp_path / "out", "--weights", "--tokenizer", home=tmp_path / "home", endpoint=endpoint)
    assert answer.returncode == 0, answer.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "hub.json"} <= names and "tf_model.h5" not in names
    assert json.loads((tmp_path / "out" / "hub.json").read_text()) == {"id": NAME, "asked": None, "commit": COMMIT}
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    fetched, original = (tiny.start(folder, tiny.import_settings("dense")) for folder in (tmp_path / "out", model))
    torch.testing.assert_close(fetched.state_dict(), original.state_dict(), rtol=0, atol=0)


def test_a_tokenizer_is_fetched_without_weights_and_a_pytorch_file_only_if_no_other_exists(model, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    for path in model.iterdir():
        if path.name != "model.safetensors":
            (old / path.name).write_bytes(path.read_bytes())
    (old / "pytorch_model.bin").write_bytes(b"weights")
    with serve({"org/old": old}) as endpoint:
        where = {"home": tmp_path / "home", "endpoint": endpoint, "name": "org/old"}
        assert fetch(tmp_path / "words", "--tokenizer", **where).returncode == 0
        assert fetch(tmp_path / "both", "--weights", **where).returncode == 0
    assert not (tmp_path / "words" / "pytorch_model.bin").exists()
    assert (tmp_path / "both" / "pytorch_model.bin").read_bytes() == b"weights"


def test_the_modules_of_sentence_transformers_are_copied_too(model, tmp_path, monkeypatch):
    source = Path(shutil.copytree(model, tmp_path / "source"))
    (source / "modules.json").write_text("[]")
    for name in ("1_Pooling/config.json", "onnx/config.json"):
        (source / name).parent.mkdir()
        (source / name).write_text("{}")
    monkeypatch.setattr(hub, "snapshot", lambda model: source)
    hub.fetch(hub.HubModel("org/x", ("init",), True), tmp_path / "out")
    assert (tmp_path / "out/1_Pooling/config.json").is_file() and not (tmp_path / "out/onnx").exists()


def test_the_cache_of_an_earlier_download_is_enough(model, tmp_path):
    home = tmp_path / "home"
    with serve({NAME: model}) as endpoint:
        assert fetch(tmp_path / "first", "--weights", home=home, endpoint=endpoint).returncode == 0
    offline = {"home": home, "endpoint": GONE, "HF_HUB_OFFLINE": "1"}
    assert fetch(tmp_path / "offline", "--weights", **offline).returncode == 0
    assert fetch(tmp_path / "unplugged", "--weights", home=home, endpoint=GONE).returncode == 0
    for name in ("offline", "unplugged"):
        assert (tmp_path / name / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/absent", "has no such model, or not for you"),
        (f"{NAME}@v9", "has no branch, tag or commit 'v9'"),
        ("org/gated", "accept them at"),
        ("org/empty", "has no config.json on the hub"),
        ("not a name", "neither a local folder nor a possible hub id"),
    ],
)
def test_a_refusal_of_the_hub_is_one_error_with_key_and_id(model, tmp_path, name, expected):
    (tmp_path / "empty").mkdir()
    models = {NAME: model, "org/gated": model, "org/empty": tmp_path / "empty"}
    with serve(models, gated={"org/gated"}) as endpoint:
        answer = fetch(tmp_path / "out", "--weights", name=name, home=tmp_path / "home", endpoint=endpoint)
    assert answer.returncode == 2
    lines = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and lines[0].startswith("error: stages.den.init: ") and f"'{name}'" in lines[0]
    assert expected in lines[0] and "Traceback" not in answer.stderr
    assert not (tmp_path / "out").exists()


def test_without_network_and_cache_the_error_gives_the_command_that_fills_it(tmp_path):
    for settings, reason in (({}, "Connection refused"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")):
        answer = fetch(tmp_path / "out", "--weights", home=tmp_path, endpoint=GONE, **settings)
        assert answer.returncode == 2
        assert f"hf download {NAME}" in answer.stderr and reason in answer.stderr


# --- names


def test_names_that_are_neither_stages_nor_folders_come_from_the_hub(tmp_path):
    (tmp_path / "mine").mkdir()
    config = changed(RECIPES["config.yaml"], {"stages.den_warmup.init": str(tmp_path / "mine")})
    models = {model.name: model for model in hub.hub_models(load_recipe(config))}
    assert set(models) == {"distilbert-base-uncased", "cross-encoder/ms-marco-MiniLM-L-12-v2", "bert-base-uncased"}
    assert models["bert-base-uncased"].tokenizer and not models["bert-base-uncased"].weights
    assert models["distilbert-base-uncased"].weights and not models["distilbert-base-uncased"].tokenizer
    assert models["distilbert-base-uncased"].keys == ("stages.lex_warmup.init",)
    assert hub.hub_models(load_recipe(RECIPES["demo.yaml"])) == []


@pytest.mark.parametrize("name", ["/models/x", "./x", "../x", "~/x", "a/b/c"])
def test_a_missing_path_is_not_taken_for_a_hub_id(name):
    assert hub.is_local(name)


@pytest.mark.parametrize("name", ["org/name@refs/pr/2", "org/name@main", "name@v1"])
def test_a_hub_id_with_a_revision_is_not_taken_for_a_path(name):
    assert not hub.is_local(name)


def test_different_ids_have_different_folders():
    names = ["a/b", "a-b", "a_b", "a/b@main", "a/b@v1", "b"]
    assert len({hub.slug(name) for name in names}) == len(names)
    assert not any("/" in hub.slug(name) for name in names)


def test_a_local_folder_is_checked_for_the_files_that_its_use_needs(model, tmp_path):
    keys = ["stages.den.init", "stages.den.tokenizer"]
    assert check_folder(str(model), keys) == (False, f"{model} is a folder here")
    (tmp_path / "config.json").write_text("{}")
    fault, sentence = check_folder(str(tmp_path), keys)
    assert fault and "stages.den.init, stages.den.tokenizer" in sentence and "safetensors" in sentence
    fault, sentence = check_folder("./nowhere", keys)
    assert fault and "no folder './nowhere'" in sentence


def test_every_hub_model_of_the_recipes_is_pinned_or_listed_as_unpinned():
    repositories = {model.repository for config in RECIPES.values() for model in hub.hub_models(load_recipe(config))}
    assert repositories == REVISIONS.keys() | set(UNPINNED) and not REVISIONS.keys() & set(UNPINNED)
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in REVISIONS.values())


def test_a_revision_in_the_recipe_overrides_the_pinned_commit():
    commit = REVISIONS["bert-base-uncased"]
    assert hub.HubModel("bert-base-uncased", (), True).revision == commit
    assert (
        hub.by_hand(hub.HubModel("bert-base-uncased", (), True)) == f"hf download bert-base-uncased --revision {commit}"
    )
    assert hub.HubModel("bert-base-uncased@main", (), True).revision == "main"
    assert hub.HubModel(NAME, (), True).revision is None

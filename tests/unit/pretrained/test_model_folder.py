"""Folders of models and tokenizers that are damaged, need custom code, or contradict the recipe."""

import builtins
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import ByT5Tokenizer

from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.plan.models import check_folder
from led_pipeline.pretrained.tokenizer import load_tokenizer

CODE = """
import pathlib
pathlib.Path(__file__).with_name("it_ran").touch()
from transformers import BertConfig, BertModel
from transformers import PreTrainedTokenizerFast
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "whole"
    tiny.backbone("dense").save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "m"))


def config(folder: Path, **keys) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def sharded(folder: Path) -> None:
    tensors = sorted(load_file(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    save_file(dict(tensors[:20]), folder / "model-00001-of-00002.safetensors")
    places = {name: f"model-0000{1 + (i >= 20)}-of-00002.safetensors" for i, (name, _) in enumerate(tensors)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def pickled(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)


def nan(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"][3] = np.nan
    save_file(tensors, folder / "model.safetensors")


def cut(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(content)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
DAMAGED = {
    "no config": (lambda f: (f / "config.json").unlink(), r"model '.*m': it has no config\.json"),
    "empty config": (lambda f: (f / "config.json").write_text(""), r"m/config\.json:1: not valid JSON"),
    "cut config": (lambda f: cut(f / "config.json", 0.5), r"m/config\.json:\d+: not valid JSON"),
    "list": (lambda f: (f / "config.json").write_text("[1]"), r"m/config\.json: expected an object .*, got a list"),
    "no type": (lambda f: (f / "config.json").write_text("{}"), r"m/config\.json: model_type: this key is missing"),
    "type": (lambda f: config(f, model_type="bort9"), r"m/config\.json: it cannot be read .*bort9.*; name a model"),
    "number of layers": (lambda f: config(f, num_hidden_layers="two"), r"m/(config\.json|model.*): it cannot be read"),
    "heads": (lambda f: config(f, num_attention_heads=3), r"m/(config\.json|model.*): it cannot be read"),
    "latin-1": (lambda f: (f / "config.json").write_bytes(b'{"a": "\xe9"}'), r"m/config\.json: .*UTF-8"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model '.*m': it has no model\.safetensors or pyt"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), r"m/model\.safetensors: this is not a safetensors"),
    "garbage": (
        lambda f: (f / "model.safetensors").write_bytes(b"x" * 999),
        r"m/model\.safetensors: this is not a",
    ),
    "cut": (lambda f: cut(f / "model.safetensors", 0.7), r"m/model\.safetensors: [\d,]+ bytes, expected [\d,]+"),
    "flipped": (lambda f: flipped(f / "model.safetensors"), r"m/model\.safetensors: "),
    "pointer": (lambda f: (f / "model.safetensors").write_bytes(POINTER), r"m/model\.safetensors: it is a Git LFS"),
    "no shard": (sharded, r"index\.json: 1 of the 2 files that it names are missing .*19 of 39 tensors"),
    "bin": (lambda f: pickled(f, b"no pickle at all"), r"m/pytorch_model\.bin: it cannot be read"),
    "empty bin": (lambda f: pickled(f, b""), r"m/pytorch_model\.bin: the file is empty"),
    "adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), r"it contains adapters of peft .*merge_and"),
    "nan": (nan, r"model '.*m': the tensor embeddings\.LayerNorm\.bias has values that are infinite or no numbers"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_error_names_the_file_of_a_damaged_model(folder, damage):
    change, sentence = DAMAGED[damage]
    change(folder)
    with pytest.raises(InputError, match=sentence) as error:
        tiny.start(folder, tiny.import_settings("dense"))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


TOKENIZERS = {
    "cut": (lambda f: cut(f / "tokenizer.json", 0.5), r"m/tokenizer\.json:\d+: not valid JSON"),
    "empty": (lambda f: (f / "tokenizer.json").write_bytes(b""), r"m/tokenizer\.json:1: not valid JSON"),
    "list": (lambda f: (f / "tokenizer.json").write_text("[]"), r"m/tokenizer\.json: expected an object"),
    "other": (lambda f: (f / "tokenizer.json").write_text('{"model": 3}'), r"tokenizer '.*m': it cannot be read"),
    "pointer": (lambda f: (f / "tokenizer.json").write_bytes(POINTER), r"m/tokenizer\.json: it is a Git LFS pointer"),
    "config": (lambda f: (f / "tokenizer_config.json").write_text("3"), r"m/tokenizer_config\.json: expected an"),
    "none": (
        lambda f: [p.unlink() for p in f.glob("tok*")],
        r"tokenizer '.*m': it has no vocabulary \(tokenizer\.json",
    ),
}


@pytest.mark.parametrize("damage", TOKENIZERS)
def test_error_names_the_file_of_a_damaged_tokenizer(folder, damage):
    change, sentence = TOKENIZERS[damage]
    change(folder)
    with pytest.raises(InputError, match=sentence):
        load_tokenizer(folder)


def test_the_preflight_reports_it_too(folder):
    cut(folder / "model.safetensors", 0.7)
    fault, sentence = check_folder(str(folder), ["stages.den.init"])
    assert fault and sentence.startswith(f"stages.den.init: {folder}/model.safetensors: ")


# --- code in a model's folder


@pytest.mark.parametrize("kind", ["bert", "mine"])
def test_code_of_a_models_folder_never_runs_and_nobody_is_prompted(folder, monkeypatch, kind):
    (folder / "code.py").write_text(CODE)
    config(folder, model_type=kind, auto_map={"AutoConfig": "code.BertConfig", "AutoModel": "code.BertModel"})
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
    map_of = {"AutoTokenizer": ["code.PreTrainedTokenizerFast", "code.PreTrainedTokenizerFast"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config | {"auto_map": map_of}))
    prompts = []
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    monkeypatch.setattr(builtins, "input", lambda *text: prompts.append(text) or "y")
    with pytest.raises(InputError, match=r"config\.json: auto_map: .* code .*AutoConfig, AutoModel.* never"):
        tiny.start(folder, tiny.import_settings("dense"))
    with pytest.raises(InputError, match=r"tokenizer_config\.json: auto_map: .*AutoTokenizer"):
        load_tokenizer(folder)
    assert not prompts and not (folder / "it_ran").exists()


# --- tokenizers with another input format


def test_a_tokenizer_in_python_is_refused_with_its_name(tmp_path):
    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"ByT5Tokenizer is written in Python, expected a fast tokenizer"):
        tiny.save_store(tmp_path / "q.arrow", tmp_path, {"text": ["a"]})


@pytest.mark.parametrize("template", ["$A [SEP] [CLS]", "[CLS] $A", "[CLS] [MASK] $A [SEP]"])
def test_a_tokenizer_that_puts_its_special_tokens_elsewhere_is_refused(tmp_path, template):
    fast = tiny.save_tokenizer(tmp_path)
    special = [(token, tiny.SPECIAL.index(token)) for token in ("[CLS]", "[SEP]", "[MASK]")]
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    fast.save_pretrained(tmp_path)
    escaped = template.replace("$A", "text").replace("[", r"\[")
    with pytest.raises(InputError, match=rf"it encodes a text as `{escaped}`, .* only supports `\[CLS\] text \[SEP\]`"):
        tiny.save_store(tmp_path / "q.arrow", tmp_path, {"text": ["a"]})


def test_the_vocabulary_extends_to_the_highest_id(tmp_path):
    fast = tiny.save_tokenizer(tmp_path)
    fast.add_tokens(["new"])
    fast.save_pretrained(tmp_path)
    tiny.save_store(tmp_path / "q.arrow", tmp_path, {"text": ["a new"]})
    store = TokenStore([tmp_path / "q.arrow"])
    assert store.vocabulary == len(tiny.VOCABULARY) + 1 == store.texts([0], 8).ids.max() + 1

"""Folder names: two names of a recipe never share a folder, and ordinary names keep their spelling."""

import os
import re

import pytest

from led_pipeline.files import folder_names
from led_pipeline.files.errors import InputError
from led_pipeline.files.folder_names import of_hub, of_tokenizer

ORDINARY = {
    "bert-base-uncased": ("bert-base-uncased", "bert-base-uncased"),
    "cross-encoder/ms-marco-MiniLM-L-2": ("cross-encoder--ms-marco-MiniLM-L-2", "cross-encoder_ms-marco-MiniLM-L-2"),
    "Luyu/co-condenser-marco": ("Luyu--co-condenser-marco", "Luyu_co-condenser-marco"),
}
ODD = [
    "models/a", "models_a", "models--a", "a--b", "a__b", "a_b", "a-b", "a.b", "a/b", "a b", "a@b", "a/b@c", "a/b@c_d",
    "a/b_c", "a_b/c", "a/b@c/d", "a/b@c--d", "a/b@v1-", "a/b@v1", "模型", "模", "型", "모델", "é", "e\u0301", ".", "..",
    "../a", "a/..", "/", "//", " ", "  ", "-", "--", "_", "~", "~/a", "$HOME", "a;b", "a'b", "{x}", "{}", "a\nb", "@",
    "@a", "x" * 300, "x" * 299, "org/" + "y" * 300, "passages", "train", "pretrain/", "./pretrain", "Pretrain",
    os.fsdecode(b"\xff"), os.fsdecode(b"\xfe"),
]  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_name_keeps_its_folder(name):
    assert (of_hub(name), of_tokenizer(name, ["pretrain"], local=False)) == ORDINARY[name]


@pytest.mark.parametrize("folder_of", [of_hub, lambda name: of_tokenizer(name, ["pretrain", "a_b"], local=False)])
def test_different_names_have_different_portable_folders(folder_of, tmp_path):
    folders = {name: folder_of(name) for name in ODD}
    assert len(set(folders.values())) == len(ODD)
    for name, folder in folders.items():
        assert re.fullmatch(r"[A-Za-z0-9][\w.@+-]*", folder, re.ASCII) and len(folder) < 150, (name, folder)
    folder_names.check({name: folder for name, folder in folders.items() if name != "Pretrain"})


def test_a_local_tokenizers_folder_never_collides_with_a_stage_or_another_folder():
    stages = ["pretrain", "models_a"]
    assert of_tokenizer("pretrain", stages, local=False) == "pretrain"
    paths = ["./pretrain", "../pretrain", "Pretrain", "models/a", "models_a/", "models/A", "模型", "模型/模型"]
    folders = {path: of_tokenizer(path, stages, local=True) for path in paths}
    assert len({folder.casefold() for folder in [*folders.values(), *stages]}) == len(paths) + len(stages)
    assert folders["models/a"].startswith("models_a+"), "the folder name shows which folder it is"


def test_spellings_of_the_same_path_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spellings = ["models/a", "./models/a", "models//a/", "models/../models/a", str(tmp_path / "models" / "a")]
    assert len({of_tokenizer(name, [], local=True) for name in spellings}) == 1


def test_a_stage_and_a_hub_id_never_share_a_folder():
    assert (
        of_tokenizer("org/name", ["Org_Name"], local=False) != of_tokenizer("org/name", [], local=False) == "org_name"
    )


def test_names_that_differ_only_in_case_are_refused():
    names = {name: of_hub(name) for name in ("Org/model", "org/model")}
    with pytest.raises(InputError, match=r"'Org/model' and 'org/model' differ .* rename one"):
        folder_names.check(names)
    folder_names.check({name: of_hub(name) for name in ("org/model", "org/model@v1", "models/a", "models/A@b")})

"""BEIR's datasets: the list, the recipe of each, archives, and the tables."""

import hashlib
import re
from pathlib import Path

import file_server
import pytest
import yaml

from led_pipeline.files.errors import InputError
from led_pipeline.inspection import beir
from led_pipeline.recipe.load import load_recipe

ROOT = Path(__file__).parents[3]
SETS = beir.read_sets(ROOT / "config" / "beir.yaml")
BASE = yaml.safe_load((ROOT / "config" / "recipes" / "beir.yaml").read_text())


def evaluation(**changes) -> beir.Evaluation:
    values = {
        "model": "org/model",
        "family": "dense",
        "lengths": {"query_length": 64, "passage_length": 512},
        "gpus": 1,
        "cores": "all",
    }
    return beir.Evaluation(**values | changes)


def test_all_thirteen_public_datasets_are_listed_with_both_measures_of_every_published_system():
    assert len(SETS.sets) == 13 and "cqadupstack" not in SETS.sets
    for entry in SETS.sets.values():
        assert set(entry.published) == {"BM25", "SPLADE++ ED", "Contriever MS MARCO"}
        assert all(len(values) == 2 and all(0 < v < 1 for v in values) for values in entry.published.values())


@pytest.mark.parametrize("name", SETS.sets)
@pytest.mark.parametrize("family", ["dense", "lexicon"])
def test_every_dataset_has_a_valid_recipe(name, family):
    recipe = load_recipe(beir.recipe(BASE, name, SETS.sets[name], Path("x.zip"), evaluation(family=family)))
    assert recipe.dataset.name == name.replace("-", "_") and recipe.dataset.exclude_query_id
    assert recipe.dataset.folder == "x.zip" and recipe.evaluation.depth >= 100
    assert recipe.stages["model"].query_length == (512 if name == "arguana" else 64)
    assert recipe.resources.encode.gpu == 1


def test_queries_are_never_longer_than_what_the_model_reads():
    short = evaluation(lengths={"query_length": 32, "passage_length": 128}, gpus=0, cores="2")
    recipe = beir.recipe(BASE, "arguana", SETS.sets["arguana"], Path("x.zip"), short)
    assert recipe["stages"]["model"]["query_length"] == 128 and recipe["resources"]["search"]["gpu"] == 0


def test_datasets_are_chosen_by_name():
    assert list(beir.chosen(SETS, "scifact, arguana")) == ["scifact", "arguana"]
    assert beir.chosen(SETS, "all") is SETS.sets
    with pytest.raises(InputError, match="--sets: no dataset 'scifakt'; there are arguana, climate-fever"):
        beir.chosen(SETS, "scifact,scifakt")
    with pytest.raises(InputError, match="no dataset 'nothing'"):
        beir.chosen(SETS, " , ")


def test_an_archive_is_downloaded_once_and_checked_every_time(tmp_path):
    body = b"PK archive"
    entry = beir.Set(md5=hashlib.md5(body).hexdigest())
    with file_server.serving() as server:
        server.content["/scifact.zip"] = body
        archives = server.url("").rstrip("/")
        path = beir.fetch("scifact", entry, archives, tmp_path)
        assert path.read_bytes() == body and beir.fetch("scifact", entry, archives, tmp_path) == path
        assert server.requested_paths == ["/scifact.zip"]
    path.write_bytes(b"PK another")
    with pytest.raises(InputError, match=re.escape(str(path))):
        beir.fetch("scifact", entry, archives, tmp_path)


def test_the_tables_have_published_numbers_beside_ours_and_means_only_of_complete_columns():
    measures = {"nDCG@10": 0.5, "recall@100": 0.9, "recall_cap@100": 0.9, "FLOPS": 1.5}
    without = dict.fromkeys(measures)
    names = ["scifact", "nfcorpus"]
    datasets = {name: {"split": "test", "systems": {"bm25": measures, "model": measures}} for name in names}
    datasets["nfcorpus"]["systems"]["model"] = without
    result = {"datasets": datasets, "means": {"bm25": measures | {"FLOPS": None}, "model": measures}}
    lines = beir.text(SETS, names, result).splitlines()
    head, _, scifact, nfcorpus, mean = (re.split(r"  +", line) for line in lines[:5])
    assert head == ["nDCG@10", "bm25", "model", *(f"{s} (published)" for s in SETS.sets["scifact"].published)]
    assert scifact == ["scifact", "0.500", "0.500", "0.679", "0.704", "0.677"]
    assert nfcorpus[:3] == ["nfcorpus", "0.500", "–"]
    assert mean == ["mean", "0.500", "–", "0.500", "0.526", "0.502"]
    assert "FLOPS of a pair, mean: model 1.50" in lines
